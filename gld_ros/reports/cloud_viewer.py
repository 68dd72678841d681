# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A cloud to turn around in a page: data and a small script (WebGL 1), nothing from elsewhere."""

from __future__ import annotations

import base64

import numpy as np

from gld_ros.geometry.cameras import Camera
from gld_ros.scene.ply import Points

MOST = 150_000  # points of a page; 10 bytes each
FAR = 95  # percentile of the distance from the middle: what lies farther away is left out

#: Drag turns, wheel and pinch zoom, drag with Shift or the right button moves; the box tints generated points.
SCRIPT = """
(() => {
const box = document.currentScript.parentElement, canvas = box.querySelector('canvas');
const tint = box.querySelector('input'), gl = canvas.getContext('webgl', {preserveDrawingBuffer: true});
if (!gl) { box.querySelector('p').textContent = 'This browser shows no WebGL: open points.ply instead.'; return; }
const bytes = Uint8Array.from(atob(box.dataset.points), c => c.charCodeAt(0)), count = bytes.length / 10;
const shader = (type, text) => {
  const made = gl.createShader(type); gl.shaderSource(made, text); gl.compileShader(made); return made;
};
const program = gl.createProgram();
gl.attachShader(program, shader(gl.VERTEX_SHADER, `
  attribute vec3 place; attribute vec4 colour; uniform mat3 turn; uniform vec3 shift; uniform vec2 lens;
  uniform float tint; varying vec3 shown;
  void main() {
    vec3 p = turn * place + shift;
    gl_Position = vec4(p.xy * lens, -1.0002 * p.z - 0.02, -p.z);
    gl_PointSize = clamp(lens.y * 6.0 / -p.z, 1.5, 8.0);
    shown = mix(colour.rgb, vec3(1.0, 0.24, 0.78), tint * colour.a);
  }`));
gl.attachShader(program, shader(gl.FRAGMENT_SHADER, `
  precision mediump float; varying vec3 shown; void main() { gl_FragColor = vec4(shown, 1.0); }`));
gl.linkProgram(program); gl.useProgram(program);
gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer()); gl.bufferData(gl.ARRAY_BUFFER, bytes, gl.STATIC_DRAW);
for (const [name, size, type, offset] of [['place', 3, gl.SHORT, 0], ['colour', 4, gl.UNSIGNED_BYTE, 6]]) {
  const at = gl.getAttribLocation(program, name);
  gl.enableVertexAttribArray(at); gl.vertexAttribPointer(at, size, type, true, 10, offset);
}
gl.enable(gl.DEPTH_TEST); gl.clearColor(1, 1, 1, 1);
const place = name => gl.getUniformLocation(program, name);
let yaw = 0, pitch = 0, shift = [0, 0, -1.8];
function draw() {
  const w = canvas.width = canvas.clientWidth, h = canvas.height = canvas.clientHeight;
  const [a, b, c, d] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  gl.viewport(0, 0, w, h); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.uniformMatrix3fv(place('turn'), false, [a, b * d, -b * c, 0, c, d, b, -a * d, a * c]);
  gl.uniform3fv(place('shift'), shift); gl.uniform2f(place('lens'), 1.5 * h / w, 1.5);
  gl.uniform1f(place('tint'), tint.checked ? 0.6 : 0); gl.drawArrays(gl.POINTS, 0, count);
}
const held = new Map();
const spread = () => { const [p, q] = [...held.values()]; return Math.hypot(p.x - q.x, p.y - q.y); };
canvas.oncontextmenu = e => e.preventDefault();
const hold = e => held.set(e.pointerId, {x: e.clientX, y: e.clientY});
canvas.onpointerdown = e => { canvas.setPointerCapture(e.pointerId); hold(e); };
canvas.onpointerup = canvas.onpointercancel = e => held.delete(e.pointerId);
canvas.onpointermove = e => {
  const last = held.get(e.pointerId);
  if (!last) return;
  const before = held.size == 2 ? spread() : 0, dx = e.clientX - last.x, dy = e.clientY - last.y;
  hold(e);
  if (before) shift[2] *= before / spread();
  else if (e.shiftKey || e.buttons & 2) { shift[0] -= dx * shift[2] / 500; shift[1] += dy * shift[2] / 500; }
  else { yaw += dx / 200; pitch = Math.max(-1.5, Math.min(1.5, pitch + dy / 200)); }
  draw();
};
canvas.onwheel = e => { e.preventDefault(); shift[2] = Math.min(-0.05, shift[2] * Math.exp(e.deltaY / 1000)); draw(); };
tint.onchange = window.onresize = draw;
draw();
})();
"""


def cloud_viewer(points: Points, camera: Camera, seed: int = 0) -> str:
    """HTML of a viewer for the known points, at most MOST of them, first seen from behind `camera`."""
    known = np.flatnonzero(np.isfinite(points.xyz).all(axis=1))
    if len(known) > MOST:
        known = np.sort(np.random.default_rng(seed).choice(known, MOST, replace=False))
    # x right, y up, z towards the viewer.
    xyz = (points.xyz[known] - camera.center) @ camera.c2w[:3, :3] * (1, -1, -1)
    middle = np.median(xyz, axis=0) if len(xyz) else np.zeros(3)
    distance = np.linalg.norm(xyz - middle, axis=1)
    reach = max(float(np.percentile(distance, FAR)), 1e-9) if len(xyz) else 1.0
    near = distance <= reach
    table = np.empty(int(near.sum()), [("place", "<i2", 3), ("colour", "u1", 4)])
    table["place"] = np.rint((xyz[near] - middle) / reach * 32767)
    table["colour"][:, :3] = points.rgb[known][near]
    table["colour"][:, 3] = np.where(points.generated[known][near], 255, 0)
    data = base64.b64encode(table.tobytes()).decode()
    return (
        f"<div data-points='{data}'><canvas style='width: 100%; height: 600px; touch-action: none'></canvas>"
        f"<p>{len(table)} points. Drag to turn, wheel to zoom, drag with Shift to move. "
        f"<label><input type='checkbox'> tint what is generated</label></p><script>{SCRIPT}</script></div>"
    )
