"""A logger plugin of Snakemake that writes each job it plans or starts as a line of JSON: rule, wildcards, resources.

Snakemake finds it by its name, because this folder's parent is on ``sys.path``. Tests read this instead of the text
that is meant for people.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    file: Path | None = field(default=None, metadata={"help": "file to write to", "required": True, "type": Path})


class LogHandler(LogHandlerBase):
    writes_to_stream = False
    writes_to_file = False  # not a log for the reader, so Snakemake need not mention it
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self):
        self.stream = self.settings.file.open("w")

    def emit(self, record):
        if getattr(record, "event", None) == LogEvent.JOB_INFO:
            job = [record.rule_name, record.wildcards, dict(record.resources.items())]
            self.stream.write(json.dumps(job) + "\n")

    def close(self):
        self.stream.close()
        super().close()
