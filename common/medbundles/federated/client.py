"""The part of NVFLARE that runs at a site: it trains, and sends weights, a number of steps and one metric."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey, FLMetaKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from medbundles.federated.algorithm import BundleAlgo
from medbundles.federated.exchange import Contribution, unpacked
from medbundles.federated.names import LOG, TRAIN, VALIDATE, WEIGHTS
from medbundles.federated.plan import Plan
from medbundles.federated.private_log import keep_here
from medbundles.federated.site import Site, read_site

private = logging.getLogger("medbundles.federated.training")  # never sent: see `keep_here`


class BundleExecutor(Executor):
    """Trains a bundle of this site as a job asks for.

    Args:
        plan: as for `Plan`.
    """

    def __init__(self, plan: Mapping[str, Any]) -> None:
        super().__init__()
        self.plan = Plan(**plan)
        self.algo: BundleAlgo | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Stops a training that is no longer wanted."""
        if self.algo is None:
            return
        if event_type == EventType.ABORT_TASK:
            self.algo.abort()
        elif event_type == EventType.END_RUN:
            self.algo.finalize()

    def execute(
        self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal
    ) -> Shareable:
        """Does a task; tells no more than that it failed: the text of an error may name a patient's file."""
        if task_name not in (TRAIN, VALIDATE):
            return make_reply(ReturnCode.TASK_UNKNOWN)
        try:
            if self.algo is None:
                self.algo = self._begin(fl_ctx)
            return reply(self._answer(task_name, shareable))
        except Exception:  # whatever it was, it stays here
            private.exception("the task %s failed", task_name)
            self.log_error(fl_ctx, f"the task failed; why stands in {LOG}, in this site's own folder")
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)

    def _begin(self, fl_ctx: FLContext) -> BundleAlgo:
        place = Path(fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT).get_site_config_dir())
        site = read_site(place, fl_ctx.get_identity_name())
        output = Path(site.output_dir) / str(fl_ctx.get_job_id())
        keep_here(output)
        return algorithm(self.plan, site, output)

    def _answer(self, task_name: str, shareable: Shareable) -> Contribution:
        model = FLModelUtils.from_shareable(shareable)
        weights = unpacked(model.params, self.algo.networks.exchanged(), sender="the server")
        metrics = self.algo.score(weights)
        if task_name == VALIDATE:
            return Contribution({}, 0, metrics)
        trained, steps = self.algo.train_from(weights)
        return Contribution(trained, steps, metrics)


def algorithm(plan: Plan, site: Site, output: Path) -> BundleAlgo:
    """The training of a plan at a site.

    Raises:
        FederationError: the site does not take part in it.
    """
    folder = site.folder(plan.bundle)
    plan.check(folder)
    own = {"dataset_dir": site.dataset_dir, "output_dir": str(output), "weights": str(output / WEIGHTS)}
    overrides = plan.overrides(folder) | dict(site.knobs) | own
    algo = BundleAlgo(folder, plan.configs(folder), overrides, plan.local_epochs)
    algo.initialize()
    return algo


def reply(answer: Contribution) -> Shareable:
    """The message: weights and steps, and the metrics of the weights that were received."""
    meta = {FLMetaKey.NUM_STEPS_CURRENT_ROUND: answer.steps} if answer.weights else {}
    return FLModelUtils.to_shareable(
        FLModel(params=answer.weights or None, metrics=answer.metrics, meta=meta, start_round=None)
    )
