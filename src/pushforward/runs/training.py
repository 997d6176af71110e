"""Training into a run folder."""

import json
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import Path

from pushforward.codecs import Codec, CodedFlow
from pushforward.data import Arrays, Data, Documents, Images, ImageSource, prepared
from pushforward.data.data import evenly_spread
from pushforward.evaluation import document_costs
from pushforward.evaluation.likelihood import mean_and_error
from pushforward.files import alone_in, cache_folder, write
from pushforward.fitting import Fit, looking_at, score_name
from pushforward.flow import Flow
from pushforward.migrations import OTHER_NOISE
from pushforward.recipe import Recipe, differences, from_json, to_json
from pushforward.rows import check_rows
from pushforward.runs.data import NOTE, Note, check_learned, note_of, read_note
from pushforward.runs.folder import RECIPE, note, read_recipe, write_card
from pushforward.runs.pace import within
from pushforward.runs.pictures import drawing
from pushforward.shapes import fits
from pushforward.training import Checkpoints, Log, Look, Objective, Plan, State, begin, proceed, ranks
from pushforward.training.checkpoint import WEIGHTS, RemovedError
from pushforward.training.log import Board
from pushforward.training.loop import Measure
from pushforward.training.utilisation import Utilisation, operations_of_step

EVALUATED = 1000  # held-out rows that are not in memory, for the curve of a training

SCHEDULE = {"train.steps", "train.warmup"}  # a fit chooses its warmup by its steps
# fields that may change when a run is continued; only the schedule changes the weights, but for rounding
CHANGEABLE = SCHEDULE | {"train.log_every", "train.checkpoint_every", "train.measure_every", "train.parallel"}


def train(
    recipe: Recipe,
    out: str | PathLike[str],
    *,
    device: str = "auto",
    boards: Sequence[Board] = (),
    minutes: float | None = None,
    pictures: bool = False,
) -> Flow:
    """Train by a recipe in the run folder `out`, and return the flow with the weights that `load` will find there.

    They are the averaged weights, or the best of these where the plan has patience. The same call again continues
    from the last checkpoint, and ends with the weights of an uninterrupted training. Under torchrun the processes
    share every batch. `device` is cpu, cuda, mps or auto. The log goes to the `boards`, "tensorboard" and "wandb",
    too. With `minutes`, a new run has as many steps as take so long here; their number is fixed in its recipe, and a
    run that is continued keeps it. With `pictures`, samples are drawn at each evaluation on held-out images, into the
    folder `pictures` of the run. An objective of several rounds, such as reflow, has all steps of the plan in each,
    and the earlier ones in folders of their own. Raises ValueError where `out` is a run of another recipe or of other
    data, RuntimeError where another process uses the folder.
    """
    folder, place = Path(out), ranks.chosen(device)
    recipe = replace(recipe, data=recipe.data.learned())
    recipe = from_json(to_json(recipe), "the recipe")  # as it will be read; raises ValueError where it cannot be
    if pictures and not (recipe.train.measure_every and isinstance(recipe.data, ImageSource)):
        raise ValueError("pictures are drawn at evaluations on held-out images: give train.measure_every.")
    log = Log(folder, boards)
    with ranks.joined(place), alone_in(folder) if ranks.rank() == 0 else nullcontext() as held, closing(log):
        objective = recipe.build().to(place)
        data, measure = recipe.training_data(), _measure(recipe, objective)
        learned = note_of(recipe, data)
        data = objective.prepare(_prepared(data, objective), cache_folder() / "states")
        if isinstance(data, Arrays) and data.events.dim() == 2:
            check_rows(CodedFlow(objective.flow, objective.codec), data, recipe.data.columns)
        if minutes is not None:
            recipe = replace(recipe, train=_plan(recipe, folder, minutes / objective.rounds, objective, data, measure))
        if ranks.rank() == 0:
            _begin(recipe, folder, learned)
        ranks.wait()
        objective = _rounds_before(objective, data, recipe.train, folder, measure)
        state = begin(objective, data, recipe.train, checkpoints=Checkpoints(folder))
        if measure and pictures:
            measure = drawing(measure, objective.codec, state, log)
        operations = operations_of_step(objective, data, recipe.train)
        log.utilisation = Utilisation(operations, place, tf32=recipe.train.precision == "tf32")
        try:
            kept = Checkpoints(folder, held=held)
            proceed(state, data, recipe.train, checkpoints=kept, log=log, measure=measure)
        except RemovedError as removed:
            raise _saved_again(recipe, folder, learned, state, removed) from None
        if ranks.rank() == 0:
            _end(recipe, folder, state)
        return state.flow


def _saved_again(recipe: Recipe, folder: Path, learned: Note, state: State, removed: RemovedError) -> RuntimeError:
    """Write the state into a new folder, in the place of the one that was removed in training. Returns the error to
    raise.

    Raises RuntimeError or ValueError where another training has begun there.
    """
    with alone_in(folder) if ranks.rank() == 0 else nullcontext():
        if ranks.rank() == 0:
            _begin(recipe, folder, learned)
        ranks.wait()
        Checkpoints(folder).save(state)
    return RuntimeError(
        f"{removed} It was made again, with the state after step {state.step:,} of {recipe.train.steps:,} and without "
        "what else was there: the same command continues from there."
    )


def _rounds_before(objective: Objective, data: Data, plan: Plan, folder: Path, measure: Measure | None) -> Objective:
    """The objective of the last round of training, after the others, each in a folder of its own: "round 1", ….

    A round that is finished ends at once, and one that was interrupted goes on.
    """
    for number in range(1, objective.rounds):
        place = folder / f"round {number}"
        state = begin(objective, data, plan, checkpoints=Checkpoints(place))
        proceed(state, data, plan, checkpoints=Checkpoints(place), log=Log(place), measure=measure)
        objective.flow.load_state_dict(state.flow.state_dict())
        following = objective.following()
        assert following is not None
        objective = following
    return objective


def _plan(
    recipe: Recipe, folder: Path, minutes: float, objective: Objective, data: Data, measure: Measure | None
) -> Plan:
    """The plan for so many minutes; that of the run, where it was begun."""
    if not (folder / RECIPE).exists():
        return within(minutes, recipe.train, objective, data, measure)
    begun = read_recipe(folder).train
    return replace(recipe.train, steps=begun.steps, warmup=begun.warmup)


def _prepared(data: Data, objective: Objective) -> Data:
    """The data with what their codec computes of them once. Raises ValueError where the flow takes other latents."""
    codec, event = objective.codec, tuple(objective.flow.event)
    made = prepared(data, codec, cache_folder() / "latents")
    if type(codec).prepare is Codec.prepare or (made is data and isinstance(data, Documents)):
        return made
    first = made.fetch([0])[0]
    shape = tuple(first.shape[2:] if isinstance(made, Documents) else codec.prepare(first).shape[1:])
    if not fits(shape, event):
        raise ValueError(f"the codec makes latents of shape {shape}, and model.image is {event}. Set it to that.")
    return made


def _measure(recipe: Recipe, objective: Objective) -> Callable[[Flow], Look] | None:
    """What to evaluate at regular steps: held-out rows, or the first of many images."""
    if not recipe.train.measure_every:
        return None
    held_out = _prepared(recipe.held_out_data(), objective)
    if isinstance(held_out, Documents):
        return _looking_at_documents(held_out, objective.codec)
    if isinstance(held_out, Images):
        held_out = Arrays(*held_out.fetch(range(min(EVALUATED, len(held_out)))))
    elif not isinstance(held_out, Arrays):
        held_out = held_out.part(range(min(EVALUATED, len(held_out))))
    return looking_at(held_out, objective.codec)


def _looking_at_documents(documents: Documents, codec: Codec) -> Callable[[Flow], Look]:
    """What a training evaluates: the held-out cost of documents, as its objective counts it."""
    some = Documents([documents.documents[row] for row in evenly_spread(len(documents), EVALUATED)])

    def look(flow: Flow) -> Look:
        return Look("held-out nats/token", *mean_and_error(document_costs(CodedFlow(flow, codec), some).sum(0)))

    return look


def _begin(recipe: Recipe, folder: Path, learned: Note) -> None:
    """Write the recipe, and what is noted of its data, into the folder. Raises ValueError where others are there."""
    if (folder / RECIPE).exists():
        _check_recipe(recipe, folder, learned)
        if (folder / WEIGHTS).exists() and not Checkpoints(folder).folder.exists():
            raise ValueError(f"{folder} holds weights and no checkpoint to continue from. Give another folder.")
        _warn_of_other_noise(folder)
    write(folder / RECIPE, to_json(recipe))
    write(folder / NOTE, json.dumps(learned, indent=2) + "\n")


def _check_recipe(recipe: Recipe, folder: Path, learned: Note) -> None:
    """Raise ValueError where the run was begun with another recipe or with other data. The same data may have moved."""
    known, place = read_note(folder), f"data.{recipe.data.place}"
    changed = [d for d in differences(read_recipe(folder), recipe) if d[0] not in CHANGEABLE]
    others = [d for d in changed if d[0] != place and not d[0].startswith(f"{place}.")]
    if others or (changed and "fingerprint" not in known):
        told = "".join(f"\n    {name}: then {was!r}, now {now!r}" for name, was, now in others or changed)
        raise ValueError(f"{folder} is a run of another recipe:{told}\nGive another folder, or the same recipe.")
    check_learned(folder, recipe, learned)


def _warn_of_other_noise(folder: Path) -> None:
    """Warn where a run was begun with the noise of an older version."""
    if json.loads((folder / RECIPE).read_text())["format"] <= OTHER_NOISE:
        warnings.warn(
            f"{folder} was begun by a version that drew other noise from the same seed: the run continues, and its "
            "weights will not be those of an uninterrupted run.",
            stacklevel=4,
        )


def _end(recipe: Recipe, folder: Path, state: State) -> None:
    """Write the model card, with the result of training where it has early stopping."""
    if not recipe.train.patience:
        return write_card(folder)
    codec = state.objective.codec
    measured = score_name(CodedFlow(state.objective.flow, codec))
    fit = Fit.of(state, recipe.train, measured, codec.unit)
    return note(folder, {"training": fit})
