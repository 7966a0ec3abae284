"""The errors that users see."""

import copy
import inspect
import pickle

import pytest

from cmr_hub import errors

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.CMRError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_reaches_another_process_whole(kind):
    arguments = ["What was wrong."]
    if inspect.isfunction(kind.__init__):  # it takes other arguments than a message
        parameters = inspect.signature(kind).parameters.values()
        arguments = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    error = kind(*arguments)
    for received in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(received) is kind
        assert str(received) == str(error) != ""
        assert vars(received) == vars(error)
