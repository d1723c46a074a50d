"""Which models whoever follows the registry looks at next: a look at all of them keeps none with news waiting."""

from collections.abc import Callable, Iterable


class Agenda:
    """Models with news, and rounds: looks at every model, one by one between the news.

    Attributes:
        been_round: Whether a whole round has been taken since the last `clear`.
    """

    def __init__(self, everything: Callable[[], Iterable[str]]) -> None:
        """Take what begins a round, and names its models."""
        self.been_round = False
        self._everything = everything
        self._news: dict[str, None] = {}
        self._round: dict[str, None] = {}
        self._due = False

    @property
    def is_empty(self) -> bool:
        """Whether all that was to be looked at has been taken."""
        return not (self._news or self._round or self._due)

    def add(self, model: str | None) -> None:
        """Have a model looked at, or everything (`None`): once more, if a round is going on."""
        if model:
            self._news[model] = None
        else:
            self._due = True

    def take(self) -> list[str]:
        """Give the models with news, each once, and the next one of the round.

        Raises:
            Exception: What `everything` raises; the round is as due as it was.
        """
        goes_round = self._due or bool(self._round)
        if self._due and not self._round:
            self._round = dict.fromkeys(self._everything())
            self._due = False
        taken, self._news = self._news, {}
        for model in taken:
            self._round.pop(model, None)
        if self._round:
            model = next(iter(self._round))
            del self._round[model]
            taken[model] = None
        self.been_round |= goes_round and not self._round
        return list(taken)

    def clear(self) -> None:
        """Forget what was to be looked at: it could not be read, and a later round sees it all."""
        self._news, self._round, self._due, self.been_round = {}, {}, False, False
