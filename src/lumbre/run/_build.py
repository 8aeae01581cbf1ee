"""`build()` turns a recipe, data and options into a `Plan` that the loop can run. Start reading here."""

from typing import Any

from lumbre.core import Plan
from lumbre.preflight import Findings
from lumbre.run._checks import look_for_mistakes
from lumbre.run._choices import choose
from lumbre.run._feeds import make_feeds
from lumbre.run._net import make_net
from lumbre.run._options import Options
from lumbre.run._plan import make_plan, make_session
from lumbre.run._session import Session
from lumbre.run._setting import setting_of
from lumbre.run._spec import Spec
from lumbre.run._weights import with_weights


def build(
    spec: Spec, data: Any, options: Options, *, every_check: bool = False, test_data: Any = None
) -> tuple[Plan, Session, Findings]:
    """Make a run ready, and look for mistakes in it: for a second, or with `every_check` as long as it takes.

    Args:
        spec: module, loss, optimizer, metrics.
        data: what to train on.
        options: of the run.
        every_check: do all checks, without haste.
        test_data: rows kept for the last test, which the checks look for among the others.

    Returns:
        What the loop runs, what the trained model keeps, and what looks wrong.
    """
    setting = setting_of(options)
    feeds = make_feeds(data, options, setting)
    net = make_net(spec, feeds.first, setting)
    if feeds.weighted:
        net = with_weights(net, spec, feeds, setting)
    with net.loss_tried():
        choices = choose(net, feeds.first, options, setting, feeds.train.length)
        findings = look_for_mistakes(
            spec, options, setting, feeds, net, choices, every_check=every_check, test_data=test_data
        )
        session = make_session(spec, options, setting, feeds, net, choices, findings)
    plan, session = make_plan(options, setting, feeds, net, session)
    return plan, session, Findings([]) if findings is None else findings
