"""JSON files of other steps: what they must hold, and the error when they do not."""

import pytest
from typing_extensions import TypedDict

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.json_files import read_json, read_json_if_valid


class Record(TypedDict):
    system: str
    inputs: dict[str, str | None]
    seconds: float


GOOD = '{"system": "student", "inputs": {"teacher": null}, "seconds": 3, "more": 1}'


def test_keys_of_the_type_are_read_and_others_dropped(tmp_path):
    (path := tmp_path / "a.json").write_text(GOOD)
    assert read_json(path, Record) == {"system": "student", "inputs": {"teacher": None}, "seconds": 3}
    assert read_json_if_valid(path, Record) == read_json(path, Record)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory); run the step that writes it"),
        ("{", "not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); delete it and"),
        ("[]", "'content' is missing or of a wrong type"),
        (GOOD.replace('"seconds": 3, ', ""), "'seconds' is missing or of a wrong type"),
        (GOOD.replace("3", '"3"'), "'seconds' is missing or of a wrong type"),
        (GOOD.replace("3", "true"), "'seconds' is missing or of a wrong type"),
        (GOOD.replace("null", "7"), "'inputs.teacher"),
    ],
)
def test_a_bad_file_is_named_with_the_key_and_the_fix(tmp_path, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as error:
        read_json(path, Record)
    assert str(error.value).startswith(f"{path}: {message}")
    assert read_json_if_valid(path, Record) is None
