# mms_plugin with mmpretrain, mmdet, mmsegmentation and mmcv's operators for CUDA.
#
#   docker build -t mms_plugin .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" mms_plugin \
#       mms train mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py --recipe vbs
#
# The image itself was never built so far: no Docker daemon was at hand. Its pip steps ran
# in an empty environment of CPython 3.11 with torch 2.4.1 of PyPI, with mmcv's operators
# built for the CPU; its imports, `pip check` and a short `mms train` passed. What CUDA
# adds, the build of the operators for GPUs, was not tried.
FROM pytorch/pytorch:2.4.1-cuda12.1-cudnn9-devel

# libGL and glib: opencv-python loads them.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# The versions that the tests run with; torch and CUDA are the image's.
COPY requirements/env.txt /tmp/env.txt
RUN sed -E 's/ *#.*//; /^(torch|torchvision|nvidia|cuda|triton|mmcv|opencv)/d; /^$/d' \
        /tmp/env.txt > /opt/constraints.txt \
    && pip install --no-cache-dir -c /opt/constraints.txt setuptools wheel ninja

# From source, for the GPUs named here; a list of your own builds in less time.
ARG TORCH_CUDA_ARCH_LIST="7.0 7.5 8.0 8.6 8.9 9.0+PTX"
RUN FORCE_CUDA=1 MMCV_WITH_OPS=1 pip install --no-cache-dir --no-build-isolation \
        --no-binary mmcv -c /opt/constraints.txt mmcv==2.1.0

COPY . /opt/mms_plugin
RUN pip install --no-cache-dir -c /opt/constraints.txt "/opt/mms_plugin[cls,det,seg]" \
    && python -c "import mmcv.ops, mmdet, mmpretrain, mmseg, mms_plugin"

WORKDIR /work
CMD ["mms", "--help"]
