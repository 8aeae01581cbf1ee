"""What a loss is made for: log-probabilities, signs, counts, lengths, and the side on which better predictions lie."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lumbre.base import detached, map_leaves, untouched
from lumbre.devices import same_chance
from lumbre.preflight._recorder import BINARY, CLASSES, Call, loss_inputs, made_by
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject

_POSITIVE = ("Exp", "Softplus", "Relu", "Sigmoid", "Softmax")
_ENOUGH, _FEW_WEIGHTS = 50, 64


@check("LB065", "warning", "A loss outside its domain", several=True)
def outside(subject: Subject) -> Iterator[Found]:
    """Losses of torch that take what they are given, and mean something else: `KLDivLoss` of what are no logarithms of
    probabilities, `PoissonNLLLoss` of a rate where its logarithm is wanted, labels of 0 and 1 where -1 and 1 are,
    a triplet whose parts are the same, `CTCLoss` with the blank among the labels or inputs that are too short, class
    probabilities that do not add up to 1, `BCELoss` of a softmax where several labels hold at once, zeros and ones
    where `MultiLabelMarginLoss` wants a list of classes, and a class that `ignore_index` leaves out."""
    for call in subject.loss_calls:
        look = _DOMAINS.get(call.name)
        if look is not None and isinstance(call.input, Tensor):
            yield from look(call)
        if call.name == "cross_entropy" and call.target is subject.batch.target:
            yield from _ignored(call)


def _kl_divergence(call: Call) -> Iterator[Found]:
    given, target = call.input.detach().float(), call.target
    if not isinstance(target, Tensor) or given.ndim < 1 or not given.numel():
        return
    in_logs = bool(call.argument(5, "log_target", False))
    if _logs(given) and (in_logs or bool((target >= 0).all())):
        return
    turned = not in_logs and _probabilities(given) and _logs(target.detach().float())
    received = "what are no logarithms of probabilities"
    if turned:
        received = "probabilities first and their logarithms second"
    if _logs(given):
        received = "a target with negative numbers, which are no probabilities,"
    yield Found(
        f"KLDivLoss of {received}",
        "the logarithms of the predicted probabilities first, the probabilities of the target second",
        'F.kl_div(torch.log_softmax(scores, 1), probabilities, reduction="batchmean"); log_target=True for a target in '
        "logarithms",
    )


def _logs(values: Tensor) -> bool:
    """Whether these are logarithms of probabilities along some dimension."""
    return any(bool((values.logsumexp(dim).abs() < 0.02).all()) for dim in range(values.ndim))


def _probabilities(values: Tensor) -> bool:
    sums = (values.sum(dim) for dim in range(values.ndim))
    return bool((values >= 0).all()) and any(bool(((one - 1).abs() < 0.02).all()) for one in sums)


def _poisson(call: Call) -> Iterator[Found]:
    given, target, made = call.input.detach(), call.target, made_by(call.input)
    if call.argument(2, "log_input", True):
        if made in _POSITIVE:
            yield Found(
                f"PoissonNLLLoss of predictions that end in {made.lower()}, as if they were logarithms",
                "the logarithm of the rate, or log_input=False",
                f"leave the {made.lower()} out, or nn.PoissonNLLLoss(log_input=False)",
            )
    elif bool((given < 0).any()):
        yield Found(
            f"PoissonNLLLoss(log_input=False) of predictions down to {float(given.min()):.3g}",
            "rates, which are not negative",
            "nn.PoissonNLLLoss(), which takes logarithms; or an exponential at the end of forward()",
        )
    if isinstance(target, Tensor) and bool((target < 0).any()):
        yield Found(
            f"PoissonNLLLoss with targets down to {float(target.min()):.3g}", "counts, from 0", "nn.MSELoss() for these"
        )


def _signs(at: int) -> Callable[[Call], Iterator[Found]]:
    def look(call: Call) -> Iterator[Found]:
        target = call.argument(at, "target")
        if isinstance(target, Tensor) and target.numel() and bool((target.abs() != 1).any()):
            values = target.detach().unique()[:4].tolist()
            yield Found(
                f"{call.name} with labels {', '.join(f'{one:g}' for one in values)}",
                "labels of -1 and 1: of other labels it takes no notice, or a wrong one",
                "2 * y - 1 for labels of 0 and 1",
            )

    return look


def _triplet(call: Call) -> Iterator[Found]:
    names = ("anchor", "positive", "negative")
    parts = [call.argument(at, name) for at, name in enumerate(names)]
    margin = call.argument(3, "margin", 1.0)
    if isinstance(margin, (int, float)) and margin <= 0:
        yield Found(f"{call.name} with a margin of {margin:g}", "a margin above 0", "margin=1.0")
    for one, two in ((0, 1), (0, 2), (1, 2)):
        if isinstance(parts[one], Tensor) and isinstance(parts[two], Tensor) and torch.equal(parts[one], parts[two]):
            yield Found(
                f"{call.name} of an {names[one]} and a {names[two]} that are the same in every row",
                "an anchor, another row of its kind, and a row of another kind",
                "look at how triplets are drawn",
            )
            return


def _ctc(call: Call) -> Iterator[Found]:
    given, targets = call.input.detach().float(), call.target
    lengths, wanted = call.argument(2, "input_lengths"), call.argument(3, "target_lengths")
    blank = int(call.argument(4, "blank", 0))
    if not bool((given.logsumexp(-1).abs() < 0.02).all()):
        yield Found(
            "CTCLoss of what are no logarithms of probabilities",
            "(steps, rows, labels), whose exponentials add up to 1 over the labels",
            "torch.log_softmax(scores, 2)",
        )
    if not isinstance(targets, Tensor) or not targets.numel():
        return
    lengths, wanted = (torch.as_tensor(one).flatten().cpu() for one in (lengths, wanted))
    used = targets.flatten()
    if targets.ndim == 2:  # padded: what lies behind the length of a row does not count
        inside = torch.arange(targets.shape[1])[None] < wanted[:, None]
        used = targets[inside.to(targets.device)]
    if bool((used == blank).any()):
        yield Found(
            f"CTCLoss with the blank, {blank}, among the labels",
            "labels without the blank, which stands for no label",
            "labels from 1, with one score more; or blank=... with a number of its own",
        )
    if lengths.shape == wanted.shape and bool((lengths < wanted).any()):
        yield Found(
            "CTCLoss with fewer steps than labels in "
            f"{int((lengths < wanted).sum())} of {len(wanted)} rows: its value is infinite there",
            "as many steps as labels, or more",
            "input_lengths in steps of the prediction, target_lengths in labels; zero_infinity=True for rare rows",
        )


def _soft_classes(call: Call) -> Iterator[Found]:
    target = call.target
    soft = isinstance(target, Tensor) and target.is_floating_point() and target.shape == call.input.shape
    if not soft or target.ndim < 1 or not target.numel():
        return
    sums = target.detach().float().sum(1 if target.ndim > 1 else 0)
    off = ((sums - 1).abs() > 0.05) & (sums != 0)
    if float(off.float().mean()) > 0.1 and (call.input.shape[1 if target.ndim > 1 else 0]) > 1:
        several = bool(((target == 0) | (target == 1)).all())
        yield Found(
            f"CrossEntropyLoss with targets that add up to {float(sums.min()):.3g} to {float(sums.max()):.3g} in a row",
            "probabilities of classes, which add up to 1",
            "nn.BCEWithLogitsLoss() where several classes hold at once"
            if several
            else "y / y.sum(1, keepdim=True); or class numbers as int64",
        )


def _ignored(call: Call) -> Iterator[Found]:
    """One label a row has no padding: a class that is left out is a class that is never learned."""
    target, ignored = call.target, call.argument(4, "ignore_index", -100)
    if not isinstance(target, Tensor) or target.is_floating_point() or call.input.ndim != 2 or target.ndim != 1:
        return
    share = float((target == ignored).float().mean())
    if isinstance(ignored, int) and 0 <= ignored < call.input.shape[1] and share > 0.02:
        yield Found(
            f"ignore_index={ignored}, a class of {share:.0%} of the rows, which the loss leaves out",
            "ignore_index of a number that is no class, such as -100",
            "leave ignore_index out; or number the classes that count from 0",
        )


def _excluding(call: Call) -> Iterator[Found]:
    """Probabilities of a softmax share a whole: of several labels that hold at once, none can be near 1."""
    given, target = call.input, call.target
    if made_by(given) != "Softmax" or not isinstance(target, Tensor) or target.shape != given.shape or given.ndim < 2:
        return
    values = given.detach().float()
    dims = [dim for dim in range(1, given.ndim) if bool(((values.sum(dim) - 1).abs() < 1e-3).all())]
    if len(dims) != 1 or given.shape[dims[0]] < 2:
        return
    held = target.detach().float().sum(dims[0])
    several = float((held > 1.5).float().mean())
    if several > 0.1:
        yield Found(
            f"BCELoss of a softmax, and targets of which several hold at once in {several:.0%} of the rows",
            "a probability for each label by itself: those of a softmax add up to 1",
            "torch.sigmoid() in place of the softmax; or leave it out, with nn.BCEWithLogitsLoss()",
        )


def _listed(call: Call) -> Iterator[Found]:
    """Class numbers of each row, behind which -1 stands to the end."""
    target = call.target
    if not isinstance(target, Tensor) or target.ndim != 2 or not target.numel():
        return
    count = (target.detach() < 0).long().cumsum(1) == 0
    repeated = ((target[:, :, None] == target[:, None]) & count[:, :, None] & count[:, None]).sum((1, 2)) > count.sum(1)
    if bool(repeated.any()):
        yield Found(
            f"MultiLabelMarginLoss with a class that is listed twice, in {int(repeated.sum())} of {len(target)} rows",
            "the class numbers of each row, each once, and -1 behind the last of them",
            "nn.MultiLabelSoftMarginLoss() or nn.BCEWithLogitsLoss() for targets of 0 and 1 for each class",
        )


_DOMAINS: dict[str, Callable[[Call], Iterator[Found]]] = {
    "kl_div": _kl_divergence,
    "poisson_nll_loss": _poisson,
    "cosine_embedding_loss": _signs(2),
    "margin_ranking_loss": _signs(2),
    "hinge_embedding_loss": _signs(1),
    "soft_margin_loss": _signs(1),
    "triplet_margin_loss": _triplet,
    "triplet_margin_with_distance_loss": _triplet,
    "ctc_loss": _ctc,
    "multilabel_margin_loss": _listed,
    "cross_entropy": _soft_classes,
    "binary_cross_entropy": _excluding,
}


@check("LB066", "warning", "Class weights that rise with the classes")
def frequent_weights(subject: Subject) -> Iterator[Found]:
    """Weights of classes are to make rare ones heard. Weights that grow with the number of rows, such as the counts
    themselves, do the opposite; so does a `pos_weight` of positives by negatives, and a `sampler=` that draws frequent
    classes even more often."""
    yield from _drawn_often(subject)
    target = subject.target
    if subject.columns is None or not isinstance(target, Tensor) or target.numel() < _ENOUGH:
        return
    for call in loss_inputs(subject.loss_calls, CLASSES):
        weight = call.argument(2, "weight")
        if not isinstance(weight, Tensor) or target.is_floating_point() or call.target is not subject.batch.target:
            continue
        used = target[(target >= 0) & (target < len(weight))].flatten()
        counts = torch.bincount(used.cpu(), minlength=len(weight)).double()
        weight = weight.detach().cpu().double()
        known = (counts > 0) & (weight > 0)
        if int(known.sum()) >= 2 and _rises(counts[known].log(), weight[known].log()):
            yield Found(
                f"class weights from {float(weight.min()):.3g} to {float(weight.max()):.3g} that rise with the number "
                "of rows",
                "larger weights for rarer classes",
                "weight = counts.sum() / (len(counts) * counts)",
            )
    for call in loss_inputs(subject.loss_calls, BINARY):
        weight = call.argument(6, "pos_weight") if call.name.endswith("logits") else None
        if not isinstance(weight, Tensor) or weight.numel() != 1 or call.target is not subject.batch.target:
            continue
        share = float(target.float().mean())
        if not 0 < share < 1 or abs(math.log(share / (1 - share))) < 0.4:
            continue
        if math.isclose(float(weight), share / (1 - share), rel_tol=0.1):
            yield Found(
                f"pos_weight={float(weight):.3g}, positives by negatives",
                f"negatives by positives, here {(1 - share) / share:.3g}",
                "pos_weight=(y == 0).sum() / (y == 1).sum()",
            )


def _drawn_often(subject: Subject) -> Iterator[Found]:
    draws, target = subject.chosen.draws, subject.target
    if draws is None or not isinstance(target, Tensor) or target.ndim != 1 or len(target) != len(draws):
        return
    kinds, at = target.cpu().unique(return_inverse=True)
    if not 2 <= len(kinds) <= _ENOUGH or (target.is_floating_point() and len(kinds) > 2):
        return
    rows = torch.bincount(at, minlength=len(kinds)).double()
    drawn = torch.zeros(len(kinds), dtype=torch.double).index_add(0, at, draws.detach().cpu().double())
    if bool((drawn > 0).all()) and _rises(rows.log(), (drawn / rows).log()):
        share, there = (float(one[rows.argmax()] / one.sum()) for one in (drawn, rows))
        yield Found(
            f"sampler= that draws the most frequent class even more often: {share:.0%} of the rows, of which it has "
            f"{there:.0%}",
            "a sampler that draws rare classes more often",
            'sampler="balanced"; or weights of 1 / counts[y]',
        )


def _rises(counts: Tensor, weights: Tensor) -> bool:
    """Whether logarithms of weights go with those of counts."""
    counts, weights = counts - counts.mean(), weights - weights.mean()
    if float(counts.max() - counts.min()) < 0.4 or float(weights.max() - weights.min()) < 0.2:
        return False
    return float((counts * weights).sum() / (counts.norm() * weights.norm())) > 0.9


@check("LB067", "warning", "A loss that is smaller where predictions are worse", unless=("LB054", "LB006", "LB015"))
def wrong_side(subject: Subject) -> Iterator[Found]:
    """The loss is asked for better predictions than the module's: the targets themselves, or higher scores for the
    right class. It must be smaller there. A loss of the user's own with its sign turned is larger; one that compares
    overlaps of probabilities, such as Dice's, is no better for raw scores of the right sign. Nor may it fall as
    predictions go away from the targets, or as weights become larger, whose penalty is added, or as weights of its
    terms do, which are trained and cost nothing."""
    pred, target, value = subject.evaluated.pred, subject.batch.target, subject.evaluated.loss
    if subject.loss is None or subject.evaluated.failure is not None:
        return
    if not subject.loss_of_torch and not subject.asks_the_net and _rewards_weights(subject):
        yield Found(
            "a term of the loss that falls with the square of the weights, without end",
            "a penalty that is added: it rises with the weights",
            "loss + 1e-4 * sum(p.square().sum() for p in self.parameters()); or weight_decay= of the optimizer",
        )
        return
    if not subject.loss_of_torch and not subject.asks_the_net and (names := _free_weights(subject)):
        yield Found(
            f"a loss that its own {', '.join(names[:2])} can make smaller without end, whatever the predictions",
            "weights of terms that cost something, so that no term vanishes",
            "torch.exp(-s) * term + s for the logarithm s of a spread; or weights that are not trained",
        )
        return
    if subject.loss_of_torch or any(call.name in _DOMAINS and not call.is_loss for call in subject.loss_calls):
        return
    if not all(isinstance(one, Tensor) for one in (pred, target, value)) or value.ndim or not pred.is_floating_point():
        return
    pred, target = pred.detach(), target.detach()
    if not bool(pred.isfinite().all()):
        return
    try:
        said = _turned(subject, pred, target, float(value.detach()))
    except Exception:  # a loss that takes the module's own predictions only
        return
    if said:
        yield Found(
            said,
            "a loss that falls as predictions become better",
            "the minus of a likelihood or an overlap; 1 - overlap of torch.sigmoid(scores)",
        )


def _rewards_weights(subject: Subject) -> bool:
    """Whether the loss, for the same predictions, falls with the square of the weights, which it looks at by itself."""
    assert subject.loss is not None
    pred = detached(subject.evaluated.pred)
    values: list[float] = []
    with untouched(subject.model, subject.device, subject.loss), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # By `data`, of whose changes the graphs of passes do not know: later checks go through them.
        kept = [(one.data, one.detach().clone()) for one in subject.model.parameters()]
        try:
            for by in (1, 2, 3, 4):
                for one, value in kept:
                    one.copy_(value * by)
                same_chance(subject.device)
                values.append(float(subject.loss(pred, subject.batch.target)))
                if by > 1 and values[-1] >= values[-2]:  # most losses know nothing of weights
                    return False
        except Exception:  # a loss that takes the module's own predictions only
            return False
        finally:
            for one, value in kept:
                one.copy_(value)
    first, second, third = (b - a for a, b in itertools.pairwise(values))
    bend, again = second - first, third - second
    return first < 0 and bend < 0 and math.isclose(bend, again, rel_tol=1e-2)


def _free_weights(subject: Subject) -> list[str]:
    """Names of a few parameters that are in the loss alone, and make it vanish where they go down its gradient."""
    assert subject.loss is not None
    loss = subject.loss
    pred = detached(subject.evaluated.pred)
    other = map_leaves(lambda leaf: leaf.roll(1, 0) if isinstance(leaf, Tensor) and leaf.ndim else leaf, pred)
    named = dict(subject.model.named_parameters())
    if isinstance(loss, torch.nn.Module):
        named |= dict(loss.named_parameters())
    named = {name: one for name, one in named.items() if one.requires_grad}
    if not named:
        return []
    with untouched(subject.model, subject.device, loss), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")

        def of(one: object) -> Tensor:
            same_chance(subject.device)
            value = loss(one, subject.batch.target)  # pyright: ignore[reportArgumentType]
            return value if isinstance(value, Tensor) else torch.as_tensor(value)

        try:
            now = of(pred)
            if not now.requires_grad or now.ndim:
                return []
            slopes: Any = torch.autograd.grad(now, list(named.values()), allow_unused=True)
            own = {name: (one, way) for (name, one), way in zip(named.items(), slopes, strict=True) if way is not None}
            if sum(one.numel() for one, _ in own.values()) > _FEW_WEIGHTS:  # a net that judges
                return []
            kept = [(one.data, one.detach().clone(), way.sign()) for one, way in own.values()]
            values = [float(now.detach())]
            try:
                for far in (10.0, 30.0, 100.0):
                    for one, value, way in kept:
                        one.copy_(value - far * way)
                    values.append(float(of(pred).detach()))
                again = float(of(other).detach())
            finally:
                for one, value, _ in kept:
                    one.copy_(value)
        except Exception:  # a loss that takes the module's own predictions only
            return []
    falls = all(a > b or a == b == 0 for a, b in itertools.pairwise(values)) and values[0] > values[1]
    same = abs(again - values[-1]) <= 1e-6 * max(1.0, abs(values[-1]))
    return list(own) if falls and same and math.isfinite(values[-1]) else []


def of_torch(subject: Subject) -> bool:
    """Whether a loss of torch's is called, of which it is known what it is made for."""
    return any(call.is_loss or call.name in _DOMAINS for call in subject.loss_calls)


def _turned(subject: Subject, pred: Tensor, target: Tensor, now: float) -> str:
    def of(one: Tensor) -> float:
        return float(subject.loss_of(one, target))

    classes = not target.is_floating_point() and pred.ndim == target.ndim + 1 and pred.shape[1] > 1
    if classes and pred.shape[0] == target.shape[0] and int(target.min()) >= 0 and int(target.max()) < pred.shape[1]:
        right = torch.zeros_like(pred).scatter_(1, target.unsqueeze(1), 1.0)
        if math.isclose(of(pred + right), of((pred + right).roll(1, 1)), rel_tol=1e-4):
            return ""  # an embedding, whose dimensions are no classes
        # A likelihood whose sign is turned falls without end; losses between embeddings do not.
        better, worse, worst = (of(_moved(pred, by * right)) for by in (1.0, -1.0, -10.0))
        if better > now > worse > worst and worst < min(now, 0.0) - 1:
            return "a loss that rises with the score of the right class"
        if all(of(_moved(pred, 10 * other)) < now - 0.2 * abs(now) for other in _others(pred, target)):
            return "a loss that is smaller where another class than the right one is sure"
        return ""
    if of_torch(subject) or pred.shape != target.shape or not target.is_floating_point():
        return ""
    generator = torch.Generator().manual_seed(0)
    step = torch.randn(target.shape, generator=generator).to(target) * (0.1 * float(target.std()) + 1e-3)
    best = of(target)
    compared = any("sub" in call.name and _shapes(call) == {tuple(target.shape)} for call in subject.loss_calls)
    if math.isfinite(best) and all(of(target + one) < best - 1e-7 for one in (step, -step)) and best > now:
        return "a loss that is greatest where predictions are the targets"
    far = 10 * float(target.std()) + 1
    away = [[of(target + sign * by * far) for by in (1, 2, 4)] for sign in (1, -1)] if compared else []
    if any(best > one > two > four and two - four > 1.5 * (one - two) for one, two, four in away):
        return "a loss that falls without end as predictions go away from the targets"
    binary = bool(((target == 0) | (target == 1)).all()) and bool((target != target.flatten()[0]).any())
    raw = made_by(subject.evaluated.pred) not in _POSITIVE and bool((pred < 0).any())  # a distance is never negative
    if binary and raw and not compared:
        opposite, scores = of(1 - target), of(10 * (2 * target - 1))
        perfect = min(abs(best), abs(best + 1)) < 0.05  # 1 - overlap, or its negative
        if perfect and opposite > best + 0.5 and not best - 0.5 <= scores <= best + 0.01:
            return "raw scores in a loss that is best at probabilities of 0 and 1, such as an overlap"
    return ""


def _others(pred: Tensor, target: Tensor) -> Iterator[Tensor]:
    """1 for another class than the right one, drawn for each row, so that it says nothing of the class."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        by = torch.randint(1, pred.shape[1], target.shape, generator=generator).to(target.device)
        yield torch.zeros_like(pred).scatter_(1, ((target + by) % pred.shape[1]).unsqueeze(1), 1.0)


def _shapes(call: Call) -> set[tuple[int, ...]]:
    pair = (call.input, call.argument(1, "other"))
    return {tuple(one.shape) if isinstance(one, Tensor) else () for one in pair}


def _moved(pred: Tensor, by: Tensor) -> Tensor:
    """Predictions of classes with more, or less, for some; probabilities and their logarithms remain what they are."""
    if bool((pred.logsumexp(1).abs() < 1e-3).all()):
        return torch.log_softmax(pred + by, 1)
    if bool((pred >= 0).all()) and bool(((pred.sum(1) - 1).abs() < 1e-3).all()):
        return torch.softmax(pred.clamp(min=1e-9).log() + by, 1)
    return pred + by
