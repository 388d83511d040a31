"""What comes next in a run, asked directly: against the plainest loop that one would write."""

from itertools import product

import pytest

from dltrain.engine.timetable import Timetable


def of(batches=7, *, samples=100, batch_size=16, **more):
    """Seven batches, the last of which has four rows."""
    return Timetable(batches, samples=samples, batch_size=batch_size, **more)


def walked(table, n=0):
    """Every number of steps at which the loop stops, from n on."""
    found = []
    while n < table.total:
        n = table.next_due(n)
        found.append(n)
    return found


def test_a_run_ends_where_it_should():
    assert of().total == 7
    assert of(epochs=2.5).total == 18  # 17.5 is rounded as Python does
    assert of(epochs=3, accumulate=2).total == 12
    assert of(epochs=3, limit=2).total == 6
    assert of(epochs=3, limit=1000).total == 21
    assert of(epochs=3, steps=5).total == 5
    assert of(epochs=0).total == of(steps=0).total == of(0, samples=0).total == 0
    assert of(1, epochs=0.1).total == of(epochs=1e-9).total == 1


@pytest.mark.parametrize("name", ["limit", "report_every", "eval_every"])
@pytest.mark.parametrize("number", [0, -3])
def test_a_number_below_one_is_refused(name, number):
    with pytest.raises(ValueError, match=f"{name}.*={number}: give 1 or more"):
        of(**{name: number})


def test_steps_lie_where_a_run_that_is_not_stopped_has_them():
    for accumulate, limit in product((1, 2, 3, 7, 9), (None, 1, 5)):
        table, expected = of(accumulate=accumulate, limit=limit, epochs=3), []
        for epoch in range(3):
            rows = [16] * 6 + [4]
            for first in range(0, len(rows[:limit]), accumulate):
                expected.append((epoch, first, sum(rows[:limit][first : first + accumulate])))
        assert [(*table.place(n), table.rows(n)) for n in range(table.total)] == expected


@pytest.mark.parametrize("steps", [None, 1, 7, 13, 22])
@pytest.mark.parametrize(("report_every", "eval_every"), [(None, None), (4, 10), (3, 5), (10, 4), (1, 50), (50, 9)])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_loop_stops_at_each_report_validation_and_end_of_an_epoch(steps, report_every, eval_every, accumulate):
    table = of(steps=steps, epochs=4, report_every=report_every, eval_every=eval_every, accumulate=accumulate)
    epoch = 7 if accumulate == 1 else 4
    reported, evaluated, ended, last = [], [], [], steps or 4 * epoch
    for n in range(1, last + 1):
        reported += [n] if n % (report_every or epoch) == 0 or n == last else []
        evaluated += [n] if n % (eval_every or epoch) == 0 or n == last else []
        ended += [n] if n % epoch == 0 else []
    stops = walked(table)
    assert stops == sorted({*reported, *evaluated, *ended})
    assert [n for n in stops if table.is_reported(n)] == reported
    assert [n for n in stops if table.is_evaluated(n)] == evaluated
    assert [n for n in stops if table.ends_epoch(n)] == ended
    for n in range(last):  # a resumed run
        assert walked(table, n) == [stop for stop in stops if stop > n]


@pytest.mark.parametrize("most", [2, 3, 6])
@pytest.mark.parametrize(("report_every", "eval_every"), [(None, None), (4, 10), (3, 5), (6, 6)])
@pytest.mark.parametrize(("accumulate", "limit", "steps"), [(1, None, 20), (1, 5, 17), (2, None, 11), (2, 3, 8)])
def test_a_program_holds_no_report_and_no_short_step(most, report_every, eval_every, accumulate, limit, steps):
    knobs = {"accumulate": accumulate, "limit": limit}
    table = of(steps=steps, report_every=report_every, eval_every=eval_every, **knobs)
    starts, n = [], 0
    while n < steps:
        count = table.together(n, most)
        assert count in (1, most)
        inside = range(n, n + count)
        assert n + count <= table.next_due(n) or count == 1
        assert count == 1 or all(table.rows(k) == 16 * accumulate for k in inside)
        assert count == 1 or n + count <= table.total
        starts.append((n, count))
        n += count
    assert n == steps
    for n, count in starts:  # a run that goes on from here makes the same programs
        assert table.together(n, most) == count


def test_the_longest_row_of_like_steps_is_between_reports_and_without_the_last_batch():
    assert (of().whole, of().row) == (6, 6)
    assert (of(accumulate=2).whole, of(accumulate=4).whole, of(limit=5).whole) == (3, 1, 5)
    assert of(report_every=4, eval_every=3).row == 3
    assert of(6, samples=96).whole == 6
