# gld_node with ROS 2 Jazzy; with an NVIDIA GPU or without. docs/tutorials/docker.md says how to build and run it.
# The CUDA runtime comes with torch's wheels; of the host only the driver is needed (NVIDIA container toolkit).
FROM ros:jazzy-ros-base

ARG TORCH="torch>=2.6,<3"
# Where else pip looks, e.g. pytorch.org's index of wheels for the CPU.
ARG PIP_EXTRA_INDEX_URL
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /ws
COPY package.xml src/gld_ros/package.xml
# ROS packages have no versions to pin: a distribution keeps its newest ones only.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rosdep update --rosdistro jazzy \
    && rosdep install --from-paths src --ignore-src --default-yes --rosdistro jazzy --skip-keys \
       "python3-torch python3-einops-pip python3-huggingface-hub-pip python3-rosbags-pip python3-tensorboard-pip" \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1001 --create-home --shell /bin/bash gld

COPY requirements.txt requirements.txt
# The skipped keys are libraries of this venv. It sees the system's packages; numpy stays the one that cv_bridge was
# compiled with.
# hadolint ignore=DL3013
RUN python3 -m venv --system-site-packages /opt/venv \
    && /opt/venv/bin/python -c 'import numpy; print("numpy==" + numpy.__version__)' > /opt/venv/constraints.txt \
    && /opt/venv/bin/pip install --no-cache-dir --constraint /opt/venv/constraints.txt \
       "$TORCH" --requirement requirements.txt
ENV PATH=/opt/venv/bin:$PATH

COPY CMakeLists.txt package.xml setup.py setup.cfg README.md LICENSE src/gld_ros/
COPY action src/gld_ros/action
COPY config src/gld_ros/config
COPY gld_ros src/gld_ros/gld_ros
COPY launch src/gld_ros/launch
COPY msg src/gld_ros/msg
COPY scripts src/gld_ros/scripts
COPY srv src/gld_ros/srv
RUN . /opt/ros/jazzy/setup.sh \
    && colcon build --merge-install --install-base /opt/gld_ros --cmake-args -DBUILD_TESTING=OFF \
    && rm -rf build log

COPY docker/entrypoint.sh /entrypoint.sh
# Models downloaded from the Hub outlive the container where this is a volume, which takes its owner from the folder.
ENV HF_HOME=/home/gld/.cache/huggingface
RUN mkdir -p "$HF_HOME" /home/gld/.ros && chown -R 1001 /home/gld
USER 1001
WORKDIR /home/gld
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "gld_ros", "gld.launch.py"]
