"""The command ``yolo-service detect``."""

from __future__ import annotations

import functools
import logging
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from yolo_service import logs, metrics
from yolo_service.cli import cluster, videos
from yolo_service.cli.options import FOLDER, Command, engine_options, settings_with_model
from yolo_service.errors import BadRequest, ConfigurationError
from yolo_service.formats import FORMATS
from yolo_service.schemes import scheme_of

if TYPE_CHECKING:
    from yolo_service.cluster.run import ClusterRun
    from yolo_service.inputs import Input
    from yolo_service.inputs.options import InputOptions
    from yolo_service.outputs import Output
    from yolo_service.pipeline import Pipeline
    from yolo_service.predictor import Options
    from yolo_service.results import Progress
    from yolo_service.settings import Settings

OPEN_FILES = 1 << 20
"""An output that appears at the end of a run holds every input until then."""

_share = click.FloatRange(0, 1)


def source_options(command: Command) -> Command:
    """Add the options of inputs."""
    options = (
        click.option(
            "--watch", is_flag=True, help="Wait for new files in folders and S3, for ever."
        ),
        click.option(
            "--stop-file", type=click.Path(path_type=Path), help="--watch ends when this exists."
        ),
        click.option(
            "--poll",
            type=click.FloatRange(0.01),
            default=1.0,
            show_default=True,
            help="Seconds between two listings of what is watched.",
        ),
        click.option("--delete-input", is_flag=True, help="Delete inputs that have a result."),
        click.option(
            "--move-input", help="Folder or s3:// address to move inputs to that have a result."
        ),
        click.option("--failed", type=FOLDER, help="Folder for inputs that cannot be read."),
        click.option("--limit", type=click.IntRange(1), help="End after so many images."),
        click.option(
            "--metrics-port",
            type=click.IntRange(1, 65535),
            help="Port with metrics for Prometheus.",
        ),
    )
    return _add(command, options)


def result_options(command: Command) -> Command:
    """Add the options of detection and of outputs."""
    options = (
        click.option(
            "--to",
            "sink",
            help="FILE.jsonl, .csv, .json or .parquet, else a folder; or redis:// or s3://.",
        ),
        click.option(
            "--format", "form", type=click.Choice(list(FORMATS)), help="Format of results."
        ),
        click.option("--draw", help="Folder for annotated images and videos, or a video file."),
        click.option("--resume", is_flag=True, help="Skip inputs that have a result."),
        click.option(
            "--threshold", type=_share, help="Smallest confidence; default: the model's own."
        ),
        click.option(
            "--nms",
            type=_share,
            help="Largest overlap of two boxes of a class; default: the model's own.",
        ),
        click.option("--tiles", help="Tiles, for small objects: 2x2, 2x2:0.3 (overlap) or auto."),
        click.option("--classes", help="Only these classes, by name or number: person,car"),
        click.option("--region", help="Only objects in x,y,width,height: pixels, or 0 to 1."),
    )
    return _add(command, options)


def video_options(command: Command) -> Command:
    """Add the options of videos."""
    return _add(command, videos.VIDEO_OPTIONS)


def cluster_options(command: Command) -> Command:
    """Add the options of clusters."""
    return _add(command, cluster.CLUSTER_OPTIONS)


def _add(command: Command, options: Sequence[Any]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@result_options
@source_options
@video_options
@cluster_options
@engine_options
def detect(sources: tuple[str, ...], **values: Any) -> None:
    """Detect objects in images and videos: files, folders, URLs, Redis, S3.

    Each SOURCE is a file, a folder (with its sub-folders), a pattern such as 'photos/**/*.jpg', an
    http or https URL, a redis:// or s3:// address, or - for a list of names on standard input.
    Without --to, one line of JSON is printed for each image; on a terminal, a table. See
    docs/sources.md.

    An image that cannot be read does not stop the others; the exit code is then 1. SIGTERM and
    Ctrl-C finish what is begun.
    """
    from yolo_service import process

    _check(values)
    cluster.check(values, sources)
    given, options = _split(values)
    settings = settings_with_model(**options, queue_seconds=math.inf)
    _log(settings)
    process.tune()
    process.raise_open_files_limit(OPEN_FILES)
    progress = _run(sources, settings, given)
    sys.exit(1 if progress.failed else 0)


_OF_DETECTION = ("threshold", "nms", "tiles", "classes", "region")
_RESULTS = ("sink", "form", "draw", "resume", "limit", *_OF_DETECTION)
_INPUTS = ("watch", "stop_file", "poll", "delete_input", "move_input", "failed", "metrics_port")


class _Given(NamedTuple):
    """Options by what they are about, and whether the run is to end."""

    results: dict[str, Any]
    inputs: dict[str, Any]
    frames: dict[str, Any]
    cluster: dict[str, Any]
    is_stopping: threading.Event


def _split(values: dict[str, Any]) -> tuple[_Given, dict[str, Any]]:
    """Return the options of ``detect``, and those of the engine."""
    groups: tuple[Sequence[str], ...] = (_RESULTS, _INPUTS, videos.NAMES, cluster.NAMES)
    results, inputs, frames, placed = ({name: values[name] for name in names} for names in groups)
    given = _Given(results, inputs, frames, placed, threading.Event())
    return given, {k: v for k, v in values.items() if not any(k in names for names in groups)}


def _check(values: dict[str, Any]) -> None:
    """Check what no single option tells.

    Raises:
        ConfigurationError: options contradict each other.
    """
    if values["delete_input"] and values["move_input"]:
        raise ConfigurationError("--delete-input and --move-input exclude each other; choose one")
    if values["resume"] and not (values["sink"] or values["draw"]):
        raise ConfigurationError("--resume looks for results at a place; expected --to PLACE")
    if values["stop_file"] and not values["watch"]:
        raise ConfigurationError("--stop-file ends --watch; expected both")


def _run(sources: Sequence[str], settings: Settings, given: _Given) -> Progress:
    from yolo_service.cli.progress import ProgressLine, can_draw

    results, is_cluster = given.results, given.cluster["cluster"] is not None
    report = None if is_cluster else videos.report_place(given.frames, results["sink"])
    with ExitStack() as stack:
        if port := given.inputs["metrics_port"]:
            stack.enter_context(metrics.served(settings.host, port))
        source = stack.enter_context(closing(_source(sources, settings, given, report)))
        is_drawn = can_draw(prints=results["sink"] is None)
        total = source.count() if is_drawn else None
        line = ProgressLine(total and min(total, results["limit"] or total), is_drawn=is_drawn)
        output = functools.partial(_output, given, report, is_one=videos.is_one(sources))
        prepare = _on_cluster if is_cluster else _here
        limits = {"resume": results["resume"], "limit": results["limit"]}
        run = prepare(stack, settings, given, output, source=source, ended=line.show, **limits)
        try:
            with _stopped_by_signals(run, given.is_stopping):
                return run.run()
        finally:
            line.end(run.progress)


def _source(sources: Sequence[str], settings: Settings, given: _Given, report: str | None) -> Input:
    from yolo_service.inputs.opening import open_input

    reports = Path(report) if report and not scheme_of(report) else None
    options = _input_options(settings, given, (reports, given.frames["save_frames"]))
    images = open_input(sources, options)
    if not options.reads:
        return images
    return videos.with_videos(images, videos.video_options(given.frames, report))


def _here(
    stack: ExitStack, settings: Settings, given: _Given, output: Callable[[], Output], **run: Any
) -> Pipeline:
    """Prepare a run in this process."""
    from yolo_service.pipeline import Pipeline
    from yolo_service.predictor import open_predictor

    predictor = stack.enter_context(open_predictor(settings))
    names = predictor.models.get().network.names  # loads it: a fault of it is no image's
    options = _options(settings, names, given.results)
    return Pipeline(predictor=predictor, options=options, output=output(), **run)


def _on_cluster(
    stack: ExitStack, settings: Settings, given: _Given, output: Callable[[], Output], **run: Any
) -> ClusterRun:
    """Prepare a run on a Ray cluster."""
    from yolo_service.models.opening import default_files

    names = default_files(settings).read_names()
    placed = cluster.Placed(stack, settings, _options(settings, names, given.results))
    return cluster.open_run(placed, given.cluster, output, **run)


def _input_options(
    settings: Settings, given: _Given, written: Sequence[Path | None]
) -> InputOptions:
    from yolo_service.inputs.options import InputOptions

    results, inputs = given.results, given.inputs
    moved = inputs["move_input"]
    places = (results["sink"], results["draw"], moved)
    sink, drawn, move_to = (
        None if not place or scheme_of(place) else Path(place) for place in places
    )
    return InputOptions(
        watch=inputs["watch"],
        stop_file=inputs["stop_file"],
        poll=inputs["poll"],
        delete=inputs["delete_input"],
        move_to=move_to,
        move_to_store=None if move_to else moved,
        failed_to=inputs["failed"],
        drawn_to=drawn,
        ignored=tuple(place for place in (sink, *written) if place),
        drawn_to_store=None if drawn else results["draw"],
        ignored_addresses=() if sink or not results["sink"] else (results["sink"],),
        max_bytes=settings.max_upload_bytes,
        timeout=settings.url_timeout,
        reads=given.cluster["cluster"] is None,
        is_stopping=given.is_stopping,
    )


def _options(settings: Settings, names: Sequence[str], results: dict[str, Any]) -> Options:
    """Return the options of the detection.

    Raises:
        ConfigurationError: the model has no such class, or the region or the tiles are none.
    """
    from yolo_service.predictor import Options
    from yolo_service.predictor.filters import class_ids, parse_classes, parse_region

    try:
        classes = () if results["classes"] is None else parse_classes(results["classes"])
        class_ids(classes, names)
        region = None if results["region"] is None else parse_region(results["region"])
        options = Options(
            threshold=results["threshold"],
            nms=results["nms"],
            tiles=results["tiles"],
            classes=classes,
            region=region,
        )
        if error := options.too_many_tiles(settings.max_tiles):
            raise error
        return options
    except BadRequest as error:
        raise ConfigurationError(f"--{error}") from error


def _output(given: _Given, report: str | None, *, is_one: bool) -> Output:
    from yolo_service.outputs.opening import open_output
    from yolo_service.outputs.options import OutputOptions
    from yolo_service.outputs.tee import Tee

    results, frames = given.results, given.frames
    resume = results["resume"]
    options = OutputOptions(results["form"], resume=resume, is_stopping=given.is_stopping)
    outputs = [open_output(results["sink"], options)]
    outputs += videos.outputs(frames, report=report, is_one_video=is_one)
    if results["draw"] is not None:
        outputs += videos.drawn(results["draw"], replace(options, format=None, draw=True))
    return outputs[0] if len(outputs) == 1 else Tee(outputs, resume=resume)


@contextmanager
def _stopped_by_signals(run: Pipeline | ClusterRun, is_stopping: threading.Event) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the run; the second one ends it at once."""

    def stop(*_: object) -> None:
        is_stopping.set()
        run.stop()
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        click.echo("\nfinishing what is begun; once more ends at once", err=True)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log(settings: Settings) -> None:
    """Log as a service does, but on a terminal only what is wrong."""
    logs.configure(settings.log_format)
    if sys.stderr.isatty():
        logging.getLogger().setLevel(logging.WARNING)
