"""A test on every backend, on cases that Hypothesis draws."""

from hypothesis import given, settings


def for_all(strategy, *, share=1.0):
    """Run a test ``test(xp, case)`` on every backend, on cases of ``strategy(few_sizes=...)``.

    NumPy sees as many examples as the profile says (times ``share``), slower libraries see fewer.
    """

    def decorate(test):
        def run(xp):
            def check(case):
                test(xp, case)

            check.__name__ = f"{test.__name__}_{xp.name.lower()}"
            part = {"NUMPY": 1, "TORCH": 0.5, "STRICT": 0.4}.get(xp.name, 0.1)
            count = max(2, round(settings().max_examples * share * part))
            drawn = strategy(few_sizes=xp.is_compiling)
            settings(max_examples=count)(given(drawn)(check))()

        run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
        return run

    return decorate
