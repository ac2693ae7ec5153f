"""Real gloo processes for the tests of AGVM, and what they run."""

import contextlib
import datetime
import multiprocessing
import os

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel

import mms_plugin  # noqa: F401

with contextlib.suppress(ImportError):  # once for all processes, by the server
    import mmdet.models  # noqa: F401
from agvm_toy import build, build_plain, make_toy, toy_batch, train_iteration, weights


def run_ranks(world_size, function, folder, *args):
    """Run ``function(rank, *args)`` in real processes; return their results."""
    store = os.path.join(str(folder), f"store_{function.__name__}_{world_size}")
    if os.path.exists(store):
        os.remove(store)
    # Forked from a server that has imported everything once: spawning anew would
    # take most of the tests' time.
    here = os.path.dirname(os.path.abspath(__file__))
    paths = [here, os.path.dirname(os.path.dirname(here))]
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [*paths, *(path for path in known if path and path not in paths)]
    )
    multiprocessing.set_forkserver_preload(["agvm_workers"])
    mp.start_processes(
        _enter,
        (world_size, function, str(folder), store, args),
        nprocs=world_size,
        start_method="forkserver",
    )
    return [
        torch.load(os.path.join(str(folder), f"{rank}.pt"), weights_only=False)
        for rank in range(world_size)
    ]


def _enter(rank, world_size, function, folder, store, args):
    torch.set_num_threads(1)
    os.environ.update(LOCAL_RANK=str(rank), RANK=str(rank), WORLD_SIZE=str(world_size))
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=world_size,
        timeout=datetime.timedelta(seconds=60),
    )
    result = function(rank, *args)
    torch.save(result, os.path.join(folder, f"{rank}.pt"))
    dist.barrier()
    dist.destroy_process_group()


def record_local_gradients(model):
    """Keep this rank's gradients of the last backward pass, before any reduction."""
    local = {}
    for name, param in model.named_parameters():
        if param.requires_grad:
            param.register_hook(
                lambda grad, name=name: local.__setitem__(name, grad.clone())
            )
    return local


def wrap(model, **kwargs):
    # Small buckets, so that there are several.
    kwargs = dict(dict(bucket_cap_mb=0.0005, broadcast_buffers=False), **kwargs)
    return MMDistributedDataParallel(model, **kwargs)


def other_layout(model):
    """Lay weights out otherwise: channels last, and matrices column by column."""
    model = model.to(memory_format=torch.channels_last)
    for param in model.parameters():
        if param.ndim == 2:
            param.data = param.data.t().contiguous().t()
    return model


def train_toy(
    rank, iterations, optimizer, agvm, ddp=None, mask_head=False, layout=None, **kwargs
):
    """Train the toy; return weights, gradients and AGVM's state by iteration."""
    model = make_toy(mask_head=mask_head)
    model = model if layout is None else layout(model)
    start = weights(model)
    local = record_local_gradients(model)
    model = wrap(model, **(ddp or {}))
    if agvm is None:
        wrapper = build_plain(model, optimizer, **kwargs)
    else:
        wrapper = build(model, optimizer, agvm, **kwargs)
    wrapper.initialize_count_status(model, 0, iterations)
    history = []
    for iteration in range(iterations):
        # Batch sizes that change, as the variable-batch sampler's do.
        size, side = [(4, 10), (2, 14), (6, 9)][iteration % 3]
        batch = toy_batch(1000 * rank + iteration, size, side)
        local.clear()
        train_iteration(model, wrapper, batch)
        history.append(
            dict(
                local={k: v.numpy().astype(np.float64) for k, v in local.items()},
                weights=weights(model),
                mu=dict(wrapper.agvm.multipliers) if agvm is not None else None,
                phi=dict(wrapper.agvm.variances) if agvm is not None else None,
            )
        )
    source = getattr(wrapper, "halves_source", None)
    extra = getattr(source, "bytes_sent_extra", None)
    return dict(start=start, history=history, lr=wrapper.get_lr(), extra=extra)


def mask_rcnn():
    """Build mmdet's Mask R-CNN, as small as possible."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.hub import get_config
    from mmengine.registry import DefaultScope

    register_all_modules(False)
    config = get_config("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py").model
    config.backbone.update(
        depth=18, base_channels=8, init_cfg=None, frozen_stages=1, norm_eval=True
    )
    config.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    config.rpn_head.update(in_channels=16, feat_channels=16)
    config.rpn_head.anchor_generator.scales = [4]
    config.train_cfg.rcnn.sampler.num = 16
    config.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=20)
    box, mask = config.roi_head.bbox_head, config.roi_head.mask_head
    config.roi_head.bbox_roi_extractor.out_channels = 16
    config.roi_head.mask_roi_extractor.out_channels = 16
    box.update(in_channels=16, fc_out_channels=16, num_classes=2)
    mask.update(in_channels=16, conv_out_channels=8, num_convs=1, num_classes=2)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(config)
    model.init_weights()
    return model


def detection_batch(seed):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (3, 64, 64)).astype(np.uint8)
    boxes, masks = [], []
    for _ in range(3):
        x, y = rng.integers(0, 40, 2)
        w, h = rng.integers(12, 24, 2)
        mask = np.zeros((64, 64), np.uint8)
        mask[y : y + h, x : x + w] = 1
        image[:, mask > 0] = rng.integers(120, 255)
        boxes.append([x, y, x + w, y + h])
        masks.append(mask)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(64, 64),
            ori_shape=(64, 64),
            scale_factor=(1.0, 1.0),
            pad_shape=(64, 64),
            batch_input_shape=(64, 64),
        )
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor(np.array(boxes), dtype=torch.float32),
        labels=torch.tensor(rng.integers(0, 2, 3)),
        masks=BitmapMasks(np.stack(masks), 64, 64),
    )
    return dict(inputs=[torch.from_numpy(image)], data_samples=[sample])


def train_mask_rcnn(rank, iterations, optimizer, agvm):
    """Train Mask R-CNN with one image per rank."""
    torch.manual_seed(0)
    model = mask_rcnn()
    start = weights(model)
    trainable = {k for k, p in model.named_parameters() if p.requires_grad}
    local = record_local_gradients(model)
    model = MMDistributedDataParallel(model, broadcast_buffers=False, bucket_cap_mb=0.1)
    wrapper = build(model, optimizer, agvm)
    wrapper.initialize_count_status(model, 0, iterations)
    torch.manual_seed(100 + rank)
    history = []
    for iteration in range(iterations):
        local.clear()
        losses = model.train_step(detection_batch(10 * rank + iteration), wrapper)
        history.append(
            dict(
                local={k: v.numpy().astype(np.float64) for k, v in local.items()},
                weights=weights(model),
                mu=dict(wrapper.agvm.multipliers),
                phi=dict(wrapper.agvm.variances),
                loss=float(losses["loss"]),
            )
        )
    start = {k: v for k, v in start.items() if k in trainable}
    return dict(start=start, history=history)
