from mmengine.logging import MessageHub

from mms_plugin.utils.first_iteration import first_iteration


def test_the_hub_names_the_first_iteration_meanwhile():
    hub = MessageHub.get_instance("test_first_iteration")
    hub.update_info("epoch", 3)
    before = dict(hub.runtime_info)
    with first_iteration():
        # A training that runs says so itself.
        assert (hub.get_info("epoch"), hub.get_info("iter")) == (3, 0)
        assert hub.get_info("max_iters") > 0
    assert dict(hub.runtime_info) == before
