# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The observed layer in Open3D's VoxelBlockGrid: a truncated signed distance field, on the GPU where there is one.

The generated layer has no such field on purpose: fusion averages, and a generated surface must not fade because another
generated ray passed through it. Open3D's own `integrate` cannot do the fusion: it gives every pixel the weight 1 and
clears up to each surface, but here weights are confidences, clearing takes more confidence than marking and ends before
the surface, one hit is an obstacle whatever was free before, and what lies behind a surface changes nothing seen there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from gld_ros.errors import InvalidRequest
from gld_ros.scene.map.config import MapConfig
from gld_ros.scene.map.visibility import (
    BLOCK,
    CELLS,
    HALF_DIAGONAL,
    INSIDE,
    Observation,
    blocks_in_view,
    project_voxels,
    voxel_keys,
)
from gld_ros.scene.map.voxels import MapPoints, VoxelGrid, VoxelTable, pack, unpack

TRUNCATION = 4  # voxels to either side of a surface in which distances are kept
FREE_WEIGHT = 0.2  # of a ray that went through, against one that hit: a second look before an obstacle goes
MAX_WEIGHT = 4.0  # a few looks clear what many showed
ROW = np.dtype(
    [("tsdf", "f4"), ("weight", "f4"), ("color", "f4", 3), ("confidence", "f4"), ("stamp", "i8")],
)


def import_open3d() -> Any:
    """The module. Raises InvalidRequest that says what is missing."""
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise InvalidRequest(
            f"the map backend 'open3d' needs Open3D, which cannot be imported: {error}. Install open3d (or open3d-cpu) "
            "with pip, and libusb-1.0-0, libgl1, libx11-6 and libgomp1 with apt; or take the backend 'voxel_hash'"
        ) from None
    return open3d


class TsdfLayer:
    """An `ObservedLayer`. Distances are in truncation lengths, positive before a surface.

    A voxel is occupied if the surface passes through it, free before it; what lies behind counts as not observed.
    """

    ROW = ROW
    name = "open3d"

    def __init__(self, grid: VoxelGrid, config: MapConfig) -> None:
        self.grid = grid
        self._truncation = TRUNCATION * grid.voxel_size
        self._edge = HALF_DIAGONAL / TRUNCATION  # a surface nearer to a centre passes through the voxel
        self._o3d = import_open3d()
        core = self._o3d.core
        self._device = core.Device("CUDA:0" if core.cuda.is_available() else "CPU:0")
        self._torch_device = "cuda" if core.cuda.is_available() else "cpu"
        kinds = [core.int64 if ROW[name].base.kind == "i" else core.float32 for name in ROW.names or ()]
        channels = [ROW[name].shape or (1,) for name in ROW.names or ()]
        blocks = max(config.max_voxels // CELLS, 1)
        self._volume = self._o3d.t.geometry.VoxelBlockGrid(
            ROW.names, kinds, channels, grid.voxel_size, BLOCK, min(blocks, 4096), self._device
        )

    def __len__(self) -> int:
        return self._volume.hashmap().size() * CELLS

    def integrate(self, seen: Observation) -> np.ndarray:
        far = max(float(seen.depth.max(initial=0)) + self._truncation, float(seen.free.max(initial=0)))
        blocks = blocks_in_view(seen.camera, self.grid, far)
        z, at, voxel = project_voxels(blocks, seen.camera, self.grid, self._torch_device)
        depth, limit, confidence = (
            torch.from_numpy(np.asarray(a, np.float32)).to(z.device).flatten()[at]
            for a in (seen.depth, seen.free, seen.confidence)
        )
        distance = torch.where(depth > 0, (depth - z) / self._truncation, 1.0)  # beyond what is marked: free, if at all
        hit = distance.abs() <= self._edge
        free = (z + self._edge * self._truncation <= limit) & ~hit
        behind = (distance < -self._edge) & (distance > -1)
        used = hit | free | behind
        colors = torch.from_numpy(seen.image.reshape(-1, 3)).to(z.device)[at[used]].float()
        touched, block = np.unique((voxel[used] // CELLS).cpu().numpy(), return_inverse=True)
        buffers = self._activate(blocks[touched])
        place = buffers[torch.from_numpy(block).to(z.device)] * CELLS + voxel[used] % CELLS
        self._fuse(place, distance[used].clamp(-1, 1), confidence[used], colors, seen.stamp)
        return np.sort(voxel_keys(blocks, voxel[hit | free].cpu().numpy()))

    def _fuse(
        self, place: torch.Tensor, distance: torch.Tensor, confidence: torch.Tensor, colors: torch.Tensor, stamp: int
    ) -> None:
        """Weighted means at the (N,) places of the attributes; colors: (N, 3) 0..255."""
        rows = self._attributes()
        # What lies behind a surface is only guessed: it must not change what was seen there.
        known = (rows["weight"][place, 0] > 0) & (rows["tsdf"][place, 0] >= -self._edge)
        kept = (distance >= -self._edge) | ~known
        place, distance, confidence, colors = place[kept], distance[kept], confidence[kept], colors[kept]
        weight = torch.where(distance > self._edge, FREE_WEIGHT * confidence, confidence)
        # One hit is an obstacle, whatever was free before.
        cleared = (distance.abs() <= self._edge) & (rows["tsdf"][place, 0] > self._edge)
        old = torch.where(cleared, 0.0, rows["weight"][place, 0])
        share = weight / (old + weight)
        for name, value in (("tsdf", distance[:, None]), ("color", colors)):
            mean = torch.where(old[:, None] > 0, rows[name][place], value)
            rows[name][place] = mean + share[:, None] * (value - mean)
        rows["weight"][place, 0] = (old + weight).clamp_max(MAX_WEIGHT)
        rows["confidence"][place, 0] = torch.maximum(rows["confidence"][place, 0], confidence)
        rows["stamp"][place, 0] = rows["stamp"][place, 0].clamp_min(stamp)

    def _attributes(self) -> dict[str, torch.Tensor]:
        """(buffers * CELLS, channels) tensors that share the volume's memory."""
        return {
            name: from_dlpack(self._volume.attribute(name).to_dlpack()).flatten(0, 3) for name in self.ROW.names or ()
        }

    def _activate(self, blocks: np.ndarray) -> torch.Tensor:
        """(B,) buffer indices of (B, 3) blocks; new ones are empty."""
        if not len(blocks):
            return torch.empty(0, dtype=torch.long)
        core, table = self._o3d.core, self._volume.hashmap()
        keys = core.Tensor(np.ascontiguousarray(blocks, dtype=np.int32), device=self._device)
        new, made = (from_dlpack(t.to(core.int64).to_dlpack()) for t in table.activate(keys))
        for values in self._attributes().values():
            values.unflatten(0, (-1, CELLS))[new[made > 0]] = 0  # of an erased block the old values are still there
        return from_dlpack(table.find(keys)[0].to(core.int64).to_dlpack())

    def _blocks(self) -> tuple[np.ndarray, torch.Tensor]:
        """(B, 3) blocks in use and (B,) their buffer indices."""
        table, core = self._volume.hashmap(), self._o3d.core
        buffers = table.active_buf_indices()
        keys = table.key_tensor()[buffers.to(core.int64)].cpu().numpy().astype(np.int64)
        return keys, from_dlpack(buffers.to(core.int64).to_dlpack())

    def table(self) -> VoxelTable:
        """All voxels of a weight, sorted by key."""
        blocks, buffers = self._blocks()
        voxels = pack(blocks[:, None] * BLOCK + INSIDE).ravel()
        columns = {
            name: values.unflatten(0, (-1, CELLS))[buffers].flatten(0, 1).cpu().numpy()
            for name, values in self._attributes().items()
        }
        (used,) = np.nonzero(columns["weight"][:, 0] > 0)
        order = used[np.argsort(voxels[used])]
        table = VoxelTable(ROW, voxels[order])
        for name, values in columns.items():
            table.rows[name] = values[order].reshape(table.rows[name].shape)
        return table

    def restore(self, table: VoxelTable) -> None:
        """Hold what another layer's `table` held; this one is new and empty."""
        indices = unpack(table.keys)
        blocks, block = np.unique(indices // BLOCK, axis=0, return_inverse=True)
        buffers = self._activate(blocks)
        x, y, z = (indices % BLOCK).T
        place = buffers[block.ravel()] * CELLS + torch.from_numpy((z * BLOCK + y) * BLOCK + x).to(buffers.device)
        for name, values in self._attributes().items():
            column = torch.from_numpy(np.ascontiguousarray(table.rows[name])).to(values.device)
            values[place] = column.reshape(len(place), -1)

    def known(self, keys: np.ndarray) -> np.ndarray:
        return VoxelTable(ROW, self.cells()[0]).find(keys)[1]

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        table = self.table()
        observed = table.rows["tsdf"] >= -self._edge
        return table.keys[observed], table.rows["tsdf"][observed] <= self._edge

    def points(self) -> MapPoints:
        table = self.table()
        if not len(table):
            return MapPoints.none()
        cloud = self._volume.extract_point_cloud(weight_threshold=0.0).cpu()
        # Distances hold at voxel centres, where Open3D puts corners.
        xyz = cloud.point.positions.numpy().astype(np.float64) + self.grid.origin + self.grid.voxel_size / 2
        places, there = table.find(self.grid.keys(xyz))
        rows = table.rows[places[there]]
        colors = np.clip(np.rint(cloud.point.colors.numpy()[there] * 255), 0, 255).astype(np.uint8)
        return MapPoints(xyz[there], colors, rows["confidence"].copy(), rows["stamp"].copy())

    def keep_within(self, position: np.ndarray, radius: float) -> int:
        blocks, _ = self._blocks()
        centers = (blocks + 0.5) * BLOCK * self.grid.voxel_size + self.grid.origin
        return self._erase(blocks[np.linalg.norm(centers - position, axis=1) > radius])

    def evict(self, limit: int) -> int:
        excess = -(-(len(self) - max(limit, CELLS)) // CELLS)
        if excess <= 0:
            return 0
        blocks, buffers = self._blocks()
        newest = self._attributes()["stamp"].unflatten(0, (-1, CELLS))[buffers].amax(dim=(1, 2)).cpu().numpy()
        return self._erase(blocks[np.argpartition(newest, excess - 1)[:excess]])

    def _erase(self, blocks: np.ndarray) -> int:
        if len(blocks):
            keys = np.ascontiguousarray(blocks, dtype=np.int32)
            self._volume.hashmap().erase(self._o3d.core.Tensor(keys, device=self._device))
        return len(blocks) * CELLS
