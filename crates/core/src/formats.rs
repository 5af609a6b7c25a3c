//! Which types may travel in COPY's binary format.
//!
//! Binary saves both servers the conversion to text (10 to 28 % of the copy's time), but it carries the source's inner
//! representation: what is only a reference there means something else here (a regclass arrived as a number). So
//! binary is for the types of this list and nothing else; text is right for every type.
//!
//! The list goes by type OID. Built-in types have the same OID on every server and in every version
//! (src/include/catalog/pg_type.dat); types of users and extensions, domains, enums and composites have OIDs from
//! 16384 on and are thereby out, and so are arrays of them. A column's OID here is the column's own type: the types on
//! both nodes must be equal ([`crate::schema_match`] says so), because binary input does not convert.

use crate::inventory::Column;

/// Fixed-length and text-like scalars: the wire format is the value, byte for byte or in network order.
///
/// Text types are converted between encodings in binary too.
const SCALARS: &[u32] = &[
    16,   // bool
    17,   // bytea
    20,   // int8
    21,   // int2
    23,   // int4
    25,   // text
    700,  // float4
    701,  // float8
    790,  // money: its text form depends on lc_monetary of either side, its binary form does not
    1042, // bpchar
    1043, // varchar
    1700, // numeric
    2950, // uuid
    3220, // pg_lsn
];

/// `"char"` and name, but not their arrays: catalogs use them, hardly anybody else does, and nothing is gained.
const CATALOG_SCALARS: &[u32] = &[
    18, // "char"
    19, // name
];

/// Dates and times: integers since 2000-01-01 on every server since PostgreSQL 10, independent of DateStyle,
/// IntervalStyle and TimeZone.
const DATES_AND_TIMES: &[u32] = &[
    1082, // date
    1083, // time
    1114, // timestamp
    1184, // timestamptz
    1186, // interval
    1266, // timetz
];

/// JSON: text on the wire, jsonb with a version byte in front that has been 1 ever since.
const JSON: &[u32] = &[
    114,  // json
    3802, // jsonb
];

/// Network addresses and bit strings: self-describing, length-checked.
const NETWORK_AND_BITS: &[u32] = &[
    650,  // cidr
    774,  // macaddr8
    829,  // macaddr
    869,  // inet
    1560, // bit
    1562, // varbit
];

/// Geometry: eight-byte floats, exact in binary.
const GEOMETRY: &[u32] = &[
    600, // point
    601, // lseg
    602, // path
    603, // box
    604, // polygon
    628, // line
    718, // circle
];

/// Ranges and multiranges over built-in types: bounds in the wire format of the types above.
const RANGES: &[u32] = &[
    3904, // int4range
    3906, // numrange
    3908, // tsrange
    3910, // tstzrange
    3912, // daterange
    3926, // int8range
    4451, // int4multirange
    4532, // nummultirange
    4533, // tsmultirange
    4534, // tstzmultirange
    4535, // datemultirange
    4536, // int8multirange
];

/// Arrays of the types above. The wire format names the element's OID, which is fixed for built-in types.
const ARRAYS: &[u32] = &[
    199,  // json[]
    629,  // line[]
    651,  // cidr[]
    719,  // circle[]
    775,  // macaddr8[]
    791,  // money[]
    1000, // bool[]
    1001, // bytea[]
    1005, // int2[]
    1007, // int4[]
    1009, // text[]
    1014, // bpchar[]
    1015, // varchar[]
    1016, // int8[]
    1017, // point[]
    1018, // lseg[]
    1019, // path[]
    1020, // box[]
    1021, // float4[]
    1022, // float8[]
    1027, // polygon[]
    1040, // macaddr[]
    1041, // inet[]
    1115, // timestamp[]
    1182, // date[]
    1183, // time[]
    1185, // timestamptz[]
    1187, // interval[]
    1231, // numeric[]
    1270, // timetz[]
    1561, // bit[]
    1563, // varbit[]
    2951, // uuid[]
    3221, // pg_lsn[]
    3807, // jsonb[]
    3905, // int4range[]
    3907, // numrange[]
    3909, // tsrange[]
    3911, // tstzrange[]
    3913, // daterange[]
    3927, // int8range[]
    6150, // int4multirange[]
    6151, // nummultirange[]
    6152, // tsmultirange[]
    6153, // tstzmultirange[]
    6155, // datemultirange[]
    6157, // int8multirange[]
];

// Deliberately absent: reg* and oid (references into the source's catalogs, or into nothing), aclitem (role OIDs), tid
// and the xid kinds (positions and ages of one server), xml (encoding declarations), tsvector, tsquery and jsonpath
// (versioned inner forms, not worth the risk), oidvector and int2vector, refcursor, pg_node_tree and other internals.

/// Every group of the list.
const GROUPS: [&[u32]; 8] =
    [SCALARS, CATALOG_SCALARS, DATES_AND_TIMES, JSON, NETWORK_AND_BITS, GEOMETRY, RANGES, ARRAYS];

/// Whether all these columns may be copied in binary format; one that may not makes the whole table go as text.
pub fn binary_is_safe(columns: &[&Column]) -> bool {
    columns.iter().all(|column| type_is_safe(column.type_oid))
}

fn type_is_safe(type_oid: u32) -> bool {
    GROUPS.iter().any(|group| group.contains(&type_oid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::build::column;
    use std::collections::BTreeSet;

    /// `(name, oid, oid of its array)`, as pg_type.dat of PostgreSQL 18 has them.
    const SAFE: &[(&str, u32, u32)] = &[
        ("bool", 16, 1000),
        ("bytea", 17, 1001),
        ("int8", 20, 1016),
        ("int2", 21, 1005),
        ("int4", 23, 1007),
        ("text", 25, 1009),
        ("json", 114, 199),
        ("point", 600, 1017),
        ("lseg", 601, 1018),
        ("path", 602, 1019),
        ("box", 603, 1020),
        ("polygon", 604, 1027),
        ("line", 628, 629),
        ("cidr", 650, 651),
        ("float4", 700, 1021),
        ("float8", 701, 1022),
        ("circle", 718, 719),
        ("macaddr8", 774, 775),
        ("money", 790, 791),
        ("macaddr", 829, 1040),
        ("inet", 869, 1041),
        ("bpchar", 1042, 1014),
        ("varchar", 1043, 1015),
        ("date", 1082, 1182),
        ("time", 1083, 1183),
        ("timestamp", 1114, 1115),
        ("timestamptz", 1184, 1185),
        ("interval", 1186, 1187),
        ("timetz", 1266, 1270),
        ("bit", 1560, 1561),
        ("varbit", 1562, 1563),
        ("numeric", 1700, 1231),
        ("uuid", 2950, 2951),
        ("pg_lsn", 3220, 3221),
        ("jsonb", 3802, 3807),
        ("int4range", 3904, 3905),
        ("numrange", 3906, 3907),
        ("tsrange", 3908, 3909),
        ("tstzrange", 3910, 3911),
        ("daterange", 3912, 3913),
        ("int8range", 3926, 3927),
        ("int4multirange", 4451, 6150),
        ("nummultirange", 4532, 6151),
        ("tsmultirange", 4533, 6152),
        ("tstzmultirange", 4534, 6153),
        ("datemultirange", 4535, 6155),
        ("int8multirange", 4536, 6157),
    ];

    /// `"char"` and name go in binary, but neither of their arrays.
    const SCALAR_ONLY: &[(u32, u32)] = &[(18, 1002), (19, 1003)];

    const UNSAFE: &[(&str, u32)] = &[
        ("int2vector", 22),
        ("regproc", 24),
        ("oid", 26),
        ("tid", 27),
        ("xid", 28),
        ("cid", 29),
        ("oidvector", 30),
        ("xml", 142),
        ("xml[]", 143),
        ("pg_node_tree", 194),
        ("oid[]", 1028),
        ("tid[]", 1010),
        ("xid[]", 1011),
        ("aclitem", 1033),
        ("aclitem[]", 1034),
        ("refcursor", 1790),
        ("regprocedure", 2202),
        ("regoper", 2203),
        ("regoperator", 2204),
        ("regclass", 2205),
        ("regtype", 2206),
        ("regclass[]", 2210),
        ("record", 2249),
        ("record[]", 2287),
        ("txid_snapshot", 2970),
        ("tsvector", 3614),
        ("tsquery", 3615),
        ("tsvector[]", 3643),
        ("regconfig", 3734),
        ("regdictionary", 3769),
        ("jsonpath", 4072),
        ("regnamespace", 4089),
        ("regrole", 4096),
        ("regcollation", 4191),
        ("pg_snapshot", 5038),
        ("xid8", 5069),
        ("xid8[]", 271),
        ("pg_class row", 83),
        ("a user's type", 16_384),
        ("no type", 0),
    ];

    #[test]
    fn the_list_is_exactly_that_of_pg_type_dat() {
        let expected: BTreeSet<u32> = SAFE
            .iter()
            .flat_map(|(_, oid, array)| [*oid, *array])
            .chain(SCALAR_ONLY.iter().map(|(oid, _)| *oid))
            .collect();
        let listed: Vec<u32> = GROUPS.concat();
        assert_eq!(listed.iter().copied().collect::<BTreeSet<u32>>(), expected);
        assert_eq!(listed.len(), expected.len(), "an OID stands twice");
    }

    #[test]
    fn references_internals_and_other_peoples_types_go_as_text() {
        for (name, oid) in UNSAFE {
            assert!(!type_is_safe(*oid), "{name}");
        }
        for (_, array) in SCALAR_ONLY {
            assert!(!type_is_safe(*array));
        }
        assert!(GROUPS.concat().iter().all(|oid| *oid < 16_384));
    }

    #[test]
    fn one_unsafe_column_makes_the_table_text() {
        let mut safe = column("a", "integer");
        safe.type_oid = 23;
        let mut reference = column("b", "regclass");
        reference.type_oid = 2205;
        assert!(binary_is_safe(&[]));
        assert!(binary_is_safe(&[&safe, &safe]));
        assert!(!binary_is_safe(&[&safe, &reference]));
    }
}
