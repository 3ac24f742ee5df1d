"""A specification to begin with."""

from __future__ import annotations

import os
from pathlib import Path

from fabloom.errors import EnvironmentProblem, UserError

from .spec import Spec

EXAMPLE = """\
# How the line '{line}' is retrained. `fabloom retrain FILE` carries one night out, `--dry-run` shows what it would do.
line: {line}

# What makes the challenger: a registered pipeline or a YAML file, with overrides as those of --set
pipeline: one-step
set: []
challenger: segmenter              # the step whose artifact may become {line}/champion
feedback: null                     # a step that the champion stands in for once there is one: a closed loop

# Challenger and champion are both scored on images that neither was trained on. They stay the same from night to night:
# commit them once, then `fabloom ref set {line}/heldout KEY`. Where they change, both are scored anew.
evaluate:
  task: unet.evaluate
  test: ref:{line}/heldout         # or key:HEX, or a step of the pipeline
  params: {{resamples: 2000, confidence: 0.95}}

# All must hold, each with the whole interval of the paired difference, challenger minus champion. Of rates, N sources in which nothing
# happens rule out a loss of 3.7 / N at 95 %: a margin of 0.1 needs 36 clean ones, 0.02 needs 183
gate:
  - {{metric: iou_defect, better: up, by: 0.01}}
  - {{metric: false_alarm_rate, better: down, no_worse_than: 0.1}}

# While there is no champion: promote, reject, or bounds of the challenger's own scores, as in {{iou_defect: 0.3}}
first: promote

# What the training set must look like, else the night ends as Rejected before anything is trained
# check:
#   step: images
#   count: {{at_least: 100, change: 0.5}}       # change: at most this share away from the last accepted set
#   size: same
#   grey: {{change: 10}}                        # grey levels
#   defects: {{at_least: 0.05, at_most: 0.95}}
#   duplicates: 0.1

# `fabloom retrain FILE --if-new` begins a night where these have changed and were at rest for `settle` seconds; without names:
# whatever enters the challenger
watch: []
settle: 60
options: {{device: auto, checkpoint_seconds: 30}}
"""


def example(line: str) -> str:
    """A commented specification of a line. Raises UserError for a name that is none."""
    from fabloom import plain_yaml

    text = EXAMPLE.format(line=line)
    try:
        Spec.parse(plain_yaml.load(text), origin="line")
    except (plain_yaml.NotPlain, UserError) as error:
        raise UserError(f"'{line}' is no name of a line: a letter, then letters, digits, '_' and '-', 100 at most") from error
    return text


def write_example(path: Path, line: str) -> None:
    """Write it where nothing is yet. Raises UserError where something is, EnvironmentProblem where nothing can be written."""
    text = example(line)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"'{path}' is there already; it is not overwritten. Give another name.") from None
    except OSError as error:
        raise EnvironmentProblem(f"cannot write '{path}': {os.strerror(error.errno or 0)}. Give another path.") from error
