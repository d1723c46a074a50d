"""Request bodies that are right, or nearly so, for a signature: where a plan and MLflow's code could differ."""

import json

from hypothesis import strategies as st
from mlflow.models import ModelSignature
from mlflow.types import DataType

# texts of numbers, right and wrong, near the borders of what parsers and types hold
_NUMBERS = [
    *("0", "-0", "0.0", "-0.0", "1", "-1", "1.0", "1.5", "1e0", "1E+2", "1e-2", "0.1", "100000", "-273.15", "2e5"),
    *("2147483647", "2147483648", "-2147483649", "9007199254740993", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551616", "-9223372036854775809", "1" + "0" * 30, "123456789012345678901234567890.5"),
    *("1e308", "1e309", "-1e400", "1e-320", "1e-400", "5e-324", "2.4703282292062328e-324", "1.7976931348623159e308"),
    *("0.1000000000000000055511151231257827021181583404541015625", "3.4028235e38", "1e39", "33.333333333333336"),
]
_OTHERS = ["null", "true", "false", "NaN", "Infinity", "-Infinity", '"1.0"', '"nan"', '""', '"red"', "[1]", "[]", "{}"]
_BROKEN = ["01", "+1", "1.", ".5", "1e", "0x1", "--1", "", "'a'", "1_000", "nul"]
_TEXTS = [
    '"red"',
    '"gr\\u00fcn"',
    '"grün"',
    '"q\\"uote"',
    '""',
    '"north"',
    '"south"',
    '"blue"',
    '"\\ud83c\\udf77"',
    '"\\ud83c"',
]


def _good(kind: DataType) -> st.SearchStrategy[str]:
    if kind is DataType.string:
        return st.sampled_from(_TEXTS[:7])
    if kind is DataType.boolean:
        return st.sampled_from(["true", "false"])
    if kind in (DataType.long, DataType.integer):
        return st.integers(-1_000, 1_000).map(str)
    floats = st.floats(allow_nan=False, allow_infinity=False, width=64).map(json.dumps)
    # as a training table has them: a point or an exponent in each
    return st.floats(-1_000, 1_000).map(json.dumps) | floats


_any_token = st.one_of(
    st.sampled_from(_NUMBERS),
    st.sampled_from(_OTHERS),
    st.sampled_from(_TEXTS),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)


@st.composite
def bodies(draw: st.DrawFn, signature: ModelSignature) -> bytes:
    """Make a body that is nearly, or wholly, what a model with this signature takes."""
    columns = [(one.name or "a", one.type) for one in signature.inputs]
    names = [json.dumps(name) for name, _ in columns]
    wrong = draw(st.sampled_from(["nothing", "nothing", "values", "values", "columns", "rows", "document", "syntax"]))
    rows = [[draw(_good(kind)) for _, kind in columns] for _ in range(draw(st.integers(1, 4)))]
    if wrong == "values":
        for _ in range(draw(st.integers(1, 3))):
            row = rows[draw(st.integers(0, len(rows) - 1))]
            row[draw(st.integers(0, len(row) - 1))] = draw(_any_token)
    if wrong == "syntax":
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(_BROKEN))
    if wrong == "rows":
        row = draw(st.sampled_from(rows))
        draw(st.sampled_from([row.pop, lambda: row.append("1.0"), rows.clear, lambda: rows.append([])]))()
    # long bodies are read in another way
    rows *= draw(st.sampled_from([1, 1, 60]))
    if wrong == "columns":
        change = draw(st.sampled_from(["reverse", "drop", "add", "double", "rename", "number"]))
        if change == "reverse":
            names, rows = names[::-1], [row[::-1] for row in rows]
        elif change == "drop":
            names, rows = names[1:], [row[1:] for row in rows]
        elif change == "add":
            names, rows = [*names, '"more"'], [[*row, "1"] for row in rows]
        elif change == "double":
            names, rows = [*names, names[0]], [[*row, row[0]] for row in rows]
        else:
            names = [draw(st.sampled_from(['"A"', '" a"', '"a\\u0000"'])) if change == "rename" else "0", *names[1:]]
    space = draw(st.sampled_from(["", "", " ", "\n\t"]))
    if draw(st.booleans()):
        data = f",{space}".join(f"[{f',{space}'.join(row)}]" for row in rows)
        table = f'{{"columns":{space}[{",".join(names)}],{space}"data": [{data}]{space}}}'
        if wrong == "document":
            more = draw(st.sampled_from(['"index": [0]', '"data": []', '"columns": []', '"x": 1']))
            table = f"{table[:-1]}, {more}}}" if draw(st.booleans()) else f"{{{more}, {table[1:]}"
        body = f'{space}{{"dataframe_split":{space}{table}}}'
    else:
        data = ",".join(
            "{" + ",".join(f"{name}:{cell}" for name, cell in zip(names, row, strict=False)) + "}" for row in rows
        )
        body = f'{{"dataframe_records":{space}[{data}]{space}}}'
    if wrong == "document":
        key = draw(st.sampled_from(["params", "x", "dataframe_split", "inputs", "dataframe_records"]))
        value = draw(st.sampled_from(["null", "{}", "[]", "1"]))
        body = draw(
            st.sampled_from(
                [
                    f'{body[:-1]}, "{key}": {value}}}',
                    f'{{"{key}": {value}, {body.strip()[1:]}',
                    f"{body} x",
                    f"{body}{body}",
                    f"[{body}]",
                    body[:-1],
                    f"\ufeff{body}",
                ]
            )
        )
    return body.encode("utf-8", draw(st.sampled_from(["strict", "surrogatepass"])))
