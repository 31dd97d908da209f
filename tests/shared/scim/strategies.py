"""What hypothesis draws for these tests: any JSON, and JSON that looks like users."""

from hypothesis import strategies as st

from shared.scim.schema import ENTERPRISE_USER_URN, USER

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["True", "false", "work", "home", "bob@contoso.com"])
)
names = st.sampled_from(
    [
        *USER.attributes,
        *USER.extensions[0].attributes,
        *USER.attributes["emails"].sub_attributes,
        *USER.attributes["name"].sub_attributes,
    ]
)
keys = (
    names
    | st.tuples(names, names).map(".".join)
    | names.map(f"{ENTERPRISE_USER_URN}:".__add__)
    | st.just(ENTERPRISE_USER_URN)
    | st.text(max_size=5)
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
)

sub_attributes = st.dictionaries(
    st.sampled_from(["value", "Type", "type", "primary", "Primary", "display", "$ref", "formatted", "x"]),
    scalars,
    max_size=4,
)
multi_values = st.lists(sub_attributes | scalars, max_size=3)
user_bodies = st.fixed_dictionaries(
    {},
    optional={
        "userName": scalars,
        "active": st.sampled_from([True, "False", "true", None, ""]),
        "name": st.dictionaries(names, scalars, max_size=3),
        "emails": multi_values,
        "addresses": multi_values,
        "roles": sub_attributes | scalars,
        "title": scalars,
        "groups": multi_values,
        ENTERPRISE_USER_URN: st.fixed_dictionaries(
            {}, optional={"manager": sub_attributes | scalars, "department": scalars}
        ),
        f"{ENTERPRISE_USER_URN[:-5]}User": st.dictionaries(names, scalars, max_size=2),
    },
)
"""Bodies most of which can be read."""
