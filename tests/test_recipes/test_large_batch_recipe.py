"""The whole large-batch recipe as a config; its training: test_train_large_batch."""

import pytest
from large_batch_toys import FASTER_RCNN, released, told_by, toy
from mmengine.config import Config
from mmengine.hub import get_config

from mms_plugin.recipes import RecipeError, apply_recipes


def test_batch_256_on_eight_ranks():
    lines = []
    config = released(batch_size=256, world_size=8, num_samples=117_266, lines=lines)
    # 117,266 samples are 7,330 iterations an epoch, 12 epochs 5,498 updates of 16.
    assert config.optim_wrapper.accumulative_counts == 16
    assert config.train_dataloader.batch_size == 2
    assert config.optim_wrapper.optimizer.lr == pytest.approx(0.02 * 4)
    assert config.auto_scale_lr.base_batch_size == 16
    assert config.optim_wrapper.clip_grad == dict(max_norm=1.0, norm_type=2)
    warmup = 5_498 // 8 * 16
    constant, exponential, steps = config.param_scheduler
    assert (constant.factor, constant.by_epoch) == (0.001, False)
    assert exponential.gamma**warmup == pytest.approx(1000)
    assert exponential.end == warmup + 1
    assert steps.type == "MultiStepLR"
    hook = config.custom_hooks[-1]
    assert (hook.begin, hook.end) == (warmup - 1600, warmup + 1600)
    assert config.sync_bn == "torch"
    assert config.model.backbone.norm_eval is False
    assert config.optim_wrapper.agvm == dict(
        start_iter=warmup + 1600, interval=10, momentum=0.97
    )
    told = "\n".join(lines)
    for words in (
        "batch of 256 images: 8 ranks x 2 images x 16 accumulated iterations; without "
        "accumulation it takes 128 ranks",
        "optim_wrapper.optimizer.lr: 0.02 -> 0.08 (sqrt rule, from a batch of 16",
        "warm-up by LinearLR -> exponential warm-up from 0.001 over 687 updates (10992",
        "model.backbone.norm_eval: True -> False",
        "AGVM measures 472 times in the 5498 updates",
    ):
        assert words in told


def test_enough_ranks_need_no_accumulation():
    config = released(
        batch_size=512, world_size=256, num_samples=117_266, lr_rule="linear"
    )
    assert config.optim_wrapper.get("accumulative_counts", 1) == 1
    assert config.optim_wrapper.optimizer.lr == pytest.approx(0.64)
    assert config.auto_scale_lr.base_batch_size == 512
    few = released(batch_size=128, world_size=128, num_samples=117_266)
    assert few.train_dataloader.batch_size == 1


def test_one_process_keeps_its_batch_norm():
    config = released(batch_size=64, num_samples=117_266)
    assert "sync_bn" not in config
    assert config.model.backbone.norm_eval is True


def test_options_of_agvm_come_first():
    config = released(
        batch_size=64, num_samples=117_266, interval=3, start_iter=9_000, momentum=0.5
    )
    assert config.optim_wrapper.agvm == dict(start_iter=9_000, interval=3, momentum=0.5)
    # None stands for what the recipe chooses.
    chosen, fitted = (
        released(batch_size=64, num_samples=117_266, **options)
        for options in ({}, dict(interval=None, start_iter=None))
    )
    assert fitted.optim_wrapper == chosen.optim_wrapper


def test_a_warmup_in_epochs_keeps_its_length():
    path = "mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py"
    config = released(path, batch_size=4096, world_size=8, num_samples=102_400)
    # 200 iterations an epoch on 8 ranks of 64, 20 epochs.
    assert config.param_scheduler[1].end == 20 * 200 + 1
    assert [s.type for s in config.param_scheduler[2:]] == ["CosineAnnealingLR"]
    assert config.optim_wrapper.clip_grad == dict(max_norm=5.0)  # its own, all along
    assert not any(
        hook.type == "ClipGradRangeHook" for hook in config.get("custom_hooks") or ()
    )


@pytest.mark.parametrize("keep, part", [("images", 8), ("iterations", 1)])
def test_a_training_that_counts_iterations(keep, part):
    path = "mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py"
    before = get_config(path)
    config = released(path, batch_size=128, world_size=64, keep=keep)
    # Its batch of 16 becomes one of 128: an eighth of the iterations.
    most = before.train_cfg.max_iters
    assert config.train_cfg.max_iters == round(most / part)
    steps = [s for s in config.param_scheduler if s.type == "MultiStepLR"][0]
    assert steps.end == round(most / part)
    old = before.param_scheduler.milestones
    assert steps.milestones == [round(milestone / part) for milestone in old]
    assert config.param_scheduler[0].end == 10**9


def test_accumulated_images_count_as_images_of_an_iteration_only_once():
    config = get_config("mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py")
    most = config.train_cfg.max_iters
    # The learning rate is meant for 16 images: 8 in each of 2 accumulated iterations.
    config.optim_wrapper.accumulative_counts = 2
    config.train_dataloader.batch_size = 1
    config = apply_recipes(config, "agvm", dict(batch_size=16, world_size=8))
    assert config.optim_wrapper.accumulative_counts == 2
    assert config.train_cfg.max_iters == most
    assert config.optim_wrapper.optimizer.lr == 1e-4


def test_without_a_rule_the_rate_stays():
    path = "mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py"
    before = get_config(path)
    lines = []
    config = released(path, lines, batch_size=256, world_size=8, lr_rule="none")
    assert config.optim_wrapper.optimizer.lr == before.optim_wrapper.optimizer.lr
    assert "optim_wrapper.optimizer.lr: 0.0001 (lr_rule='none')" in lines
    # 2 images on 8 ranks, accumulated 16 times: as many iterations as before.
    assert config.train_cfg.max_iters == before.train_cfg.max_iters
    # A training that counts epochs does not need the batch the rate is meant for.
    config = get_config("mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py")
    config.pop("auto_scale_lr", None)
    options = dict(batch_size=64, lr_rule="none", num_samples=117_266)
    assert apply_recipes(config, "agvm", options).optim_wrapper.optimizer.lr == 0.02


def test_twice_over_released_configs_replaces_the_window():
    config = Config(released(batch_size=256, num_samples=117_266).to_dict())
    again = apply_recipes(
        config, "agvm", dict(batch_size=512, base_batch_size=256, num_samples=117_266)
    )
    hooks = [h for h in again.custom_hooks if h.type == "ClipGradRangeHook"]
    assert len(hooks) == 1
    kinds = [scheduler.type for scheduler in again.param_scheduler]
    assert kinds == ["ConstantLR", "ExponentialLR", "MultiStepLR"]


def test_twice_is_refused_where_the_rate_is_scaled_already():
    options = dict(batch_size=256, world_size=8, num_samples=117_266)
    config = Config(released(**options).to_dict())
    with pytest.raises(RecipeError, match="large batch already.*set base_batch_size"):
        apply_recipes(config, "agvm", options)
    with pytest.raises(ValueError, match="'agvm' is given 2 times"):
        apply_recipes(config, "agvm+agvm", options)


def test_it_is_applied_after_the_others():
    pytest.importorskip("mmdet")
    options = dict(batch_size=64, world_size=8, num_samples=20_000, budget=0.7)
    one, other = (
        apply_recipes(get_config(FASTER_RCNN), names, options)
        for names in ("vbs-cur+agvm", "agvm+vbs-cur")
    )
    assert one.to_dict() == other.to_dict()


def test_a_stop_before_the_usual_start():
    options = dict(batch_size=256, world_size=128, num_samples=20_000)
    agvm = released(**options, stop_iter=400).optim_wrapper.agvm
    assert agvm.start_iter < agvm.stop_iter == 400
    words = f"stop_iter must be at least {agvm.start_iter}.*got 50; set start_iter too"
    with pytest.raises(ValueError, match=words):
        released(**options, stop_iter=50)


def test_batch_norm_of_networks_that_do_not_write_norm_eval():
    config = toy()
    config.default_scope = "mmdet"
    pytest.importorskip("mmdet")
    frozen = dict(type="BN", requires_grad=False)
    config.model = dict(
        type="FasterRCNN",
        backbone=dict(type="ResNet", depth=50),
        other=dict(type="mmdet.ResNeXt", depth=101),
        caffe=dict(type="ResNet", depth=50, norm_cfg=frozen, norm_eval=True),
        head=dict(type="RPNHead", loss_cls=dict(type="CrossEntropyLoss")),
    )
    lines = []
    options = dict(batch_size=8, world_size=2, num_samples=100)
    model = apply_recipes(
        config, "agvm", options, lambda name, line: lines.append(line)
    ).model
    assert model.backbone.norm_eval is False and model.other.norm_eval is False
    assert model.caffe == dict(type="ResNet", depth=50, norm_cfg=frozen, norm_eval=True)
    assert "norm_eval" not in model.head and "norm_eval" not in model
    assert any(line.startswith("model.caffe.norm_eval: True is kept") for line in lines)


def test_with_the_sampler_and_a_budget_the_updates_are_counted():
    lines = []
    pytest.importorskip("mmdet")
    options = dict(batch_size=64, world_size=8, num_samples=20_000, budget=0.7)
    config = apply_recipes(
        get_config(FASTER_RCNN),
        "vbs-cur+agvm",
        options,
        lambda name, line: lines.append(line),
    )
    predicted = next(line for line in lines if line.startswith("predicted cost"))
    share = float(predicted.split(" with ")[1].split()[0])
    updates = next(line for line in lines if line.startswith("AGVM measures"))
    # 15,000 iterations of the config's own, four to an update.
    assert int(updates.split(" in the ")[1].split()[0]) == pytest.approx(
        share * 15_000 / 4, rel=0.01
    )
    assert config.train_dataloader.batch_sampler.base_size == (800, 1333)


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(batch_size=7), "batch_size=7 cannot be made of 1 rank with 2 images"),
        (dict(batch_size="big"), "batch_size must be an integer"),
        (dict(batch_size=8, lr_rule="cube"), "lr_rule must be 'sqrt' or 'linear'"),
        (dict(batch_size=8, keep="all"), "keep must be 'images' or 'iterations'"),
        (dict(batch_size=8, warmup_iters=0), "warmup_iters must be an integer"),
        (dict(batch_size=8, world_size=-1), "world_size must be an integer"),
        (dict(batch_size=8, interval=0), "interval must be an integer"),
        (dict(warmup_iters=5), "warmup_iters=5 needs batch_size"),
        (dict(base_batch_size=5), "base_batch_size=5 needs batch_size"),
        (dict(keep="images"), "keep='images' needs batch_size"),
        (dict(world_size=8), "world_size=8 needs batch_size"),
        ({}, "num_samples=100 needs batch_size"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(ValueError, match=words) as error:
        released(num_samples=100, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes, options, words",
    [
        (dict(auto_scale_lr=None), {}, "base_batch_size: is missing.*set base_batch"),
        (
            dict(optim_wrapper=dict(optimizer=dict(type="SGD"))),
            {},
            "lr: must be a numb",
        ),
        (
            dict(
                optim_wrapper=dict(
                    optimizer=dict(type="SGD", lr=0.1),
                    lr_scaling=dict(batch_size=8, base_batch_size=2),
                )
            ),
            {},
            "lr_scaling: scales the rate already; remove it, or .*batch_size=8",
        ),
        (dict(train_dataloader=None), {}, "train_dataloader.batch_size: is missing"),
        (
            dict(train_dataloader=dict(batch_size=2, batch_sampler=dict(batch_size=4))),
            {},
            "batch_sampler.batch_size: is 4, .*set train_dataloader.batch_size=4",
        ),
        (
            dict(param_scheduler=[dict(type="LinearLR", end=5)]),
            {},
            "param_scheduler: warms up for 5 epochs, but the training has 3; set "
            "warmup_iters=N, .* below 38",  # 150 iterations, 4 of them an update
        ),
        ({}, dict(num_samples=None), "number of updates.*set num_samples "),
    ],
)
def test_what_a_config_must_have(changes, options, words):
    config = toy()
    for key, value in changes.items():
        config[key] = value
    with pytest.raises(RecipeError, match=words):
        apply_recipes(config, "agvm", {"batch_size": 8, "num_samples": 100, **options})


def test_a_batch_that_cannot_be_that_of_the_rate():
    path = "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py"
    options = dict(batch_size=1024, world_size=8, num_samples=117_266)
    with pytest.raises(RecipeError, match="is 16, but a single rank has 32 images"):
        released(path, **options)
    config = released(path, base_batch_size=256, **options)
    assert config.optim_wrapper.optimizer.lr == pytest.approx(0.004 * 2)
    # Its cosine's lowest rate keeps its distance.
    before = get_config(path).param_scheduler[1].eta_min
    assert config.param_scheduler[2].eta_min == pytest.approx(before * 2)


def test_a_name_with_another_batch_is_told(tmp_path):
    file = tmp_path / "net_4xb2-3e.py"
    toy().dump(str(file))
    lines = told_by(Config.fromfile(str(file)), batch_size=8, num_samples=100)
    (note,) = [line for line in lines if "the config's name says" in line]
    assert "4 x 2 images, and its auto_scale_lr.base_batch_size 2" in note
    assert note.endswith("set base_batch_size=8")


def test_options_without_effect_are_told():
    options = dict(batch_size=8, num_samples=100, keep="iterations")
    options.update(lr_rule="none", base_batch_size=4)
    text = "\n".join(told_by(toy(), **options))
    assert "note: keep='iterations' has no effect in a training that" in text
    assert "note: base_batch_size=4 has no effect" in text
