use super::*;
use proptest::prelude::*;

fn file(path: &str, bytes: u64) -> File {
    File { path: path.to_owned(), bytes, sha256: sha256(path.as_bytes()) }
}

fn sample() -> Manifest {
    let chunk = |from: Option<u32>, to: Option<u32>| Chunk {
        file: file(&chunk_path(16_400, from, Compression::Zstd), 100),
        rows: 7,
        from_block: from,
        to_block: to,
    };
    let table = Table {
        schema: "public".to_owned(),
        name: "We\"ird; --".to_owned(),
        columns: vec![Column { name: "id".to_owned(), type_name: "bigint".to_owned(), number: 1 }],
        format: "binary".to_owned(),
        rows: 14,
        bytes: 200,
        lsn: Lsn(0x1_0000_0020),
        insert_only: false,
        origin: Origin { oid: 16_400, filenode: 16_400, natts: 1, pages: 20, bytes: 163_840 },
        files: vec![chunk(Some(0), Some(10)), chunk(Some(10), None)],
    };
    Manifest {
        format_version: FORMAT_VERSION,
        snapshot_id: "0123456789abcdef".to_owned(),
        source: "node_a".to_owned(),
        system_identifier: "6979586071634123412".to_owned(),
        database: "shop".to_owned(),
        database_oid: 16_384,
        server_version: 180_000,
        encoding: "UTF8".to_owned(),
        lsn: Lsn(0x1_0000_0010),
        slots: vec!["steep_repl_0123456789abcdef_1".to_owned()],
        publications: vec!["steep_repl_0123456789abcdef".to_owned()],
        publication_mark: BTreeMap::from([("p".to_owned(), "1".to_owned())]),
        created_at: "2026-01-02T03:04:05Z".to_owned(),
        compression: Compression::Zstd,
        bytes: 230,
        rows: 14,
        schema: file(SCHEMA, 10),
        sequences: file(SEQUENCES, 20),
        tables: vec![table],
        selected_schemas: None,
        selected_tables: Some(vec!["public.t".to_owned()]),
    }
}

fn contradiction(change: impl FnOnce(&mut Manifest)) -> String {
    let mut manifest = sample();
    change(&mut manifest);
    let (text, sum) = write(&manifest).unwrap();
    match read(&text, &sum) {
        Err(Broken::Contradiction(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_read() {
    let (text, sum) = write(&sample()).unwrap();
    assert_eq!(read(&text, &sum), Ok(sample()));
    let sum = String::from_utf8(sum).unwrap();
    assert!(sum.ends_with("  manifest.json\n") && sum.len() == 64 + 16, "{sum:?}");
}

#[test]
fn a_later_version_is_said_whatever_else_is_in_it() {
    let text = br#"{"format_version": 2, "contents": "unheard of"}"#;
    let sum = format!("{}  {MANIFEST}\n", sha256(text));
    assert_eq!(read(text, sum.as_bytes()), Err(Broken::Newer(2)));
}

#[test]
fn what_is_no_manifest_is_refused_by_its_form() {
    for text in [&b""[..], b"[]", b"{}", b"nonsense", br#"{"format_version": 1}"#] {
        let sum = format!("{}  {MANIFEST}\n", sha256(text));
        assert!(matches!(read(text, sum.as_bytes()), Err(Broken::Form(_))), "{text:?}");
    }
}

#[test]
fn a_manifest_must_agree_with_itself() {
    assert!(contradiction(|m| m.tables[0].rows = 13).contains("sum of its files"));
    assert!(contradiction(|m| m.tables[0].bytes = u64::MAX).contains("sum of its files"));
    assert!(contradiction(|m| m.bytes += 1).contains("sum of the tables"));
    assert!(contradiction(|m| m.rows += 1).contains("sum of the tables"));
    assert!(contradiction(|m| m.tables[0].files.clear()).contains("no file"));
    assert!(contradiction(|m| m.tables[0].lsn = Lsn(1)).contains("older than the slot"));
    assert!(contradiction(|m| m.tables[0].format = "csv".to_owned()).contains("csv"));
    assert!(contradiction(|m| m.tables.push(m.tables[0].clone())).contains("named twice"));
    assert!(contradiction(|m| m.tables[0].files[0].from_block = None).contains("whole table"));
    assert!(contradiction(|m| m.publications.clear()).contains("no publication"));
    assert!(contradiction(|m| m.schema.sha256 = "F".repeat(64)).contains("no SHA-256"));
    assert!(contradiction(|m| m.schema.path = MANIFEST.to_owned()).contains("itself"));
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let long = "x".repeat(129);
    for path in [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../x",
        "data/../x",
        "data/",
        "data//x",
        "data/a/b",
        "a/b",
        ".x",
        "a\0",
        "a b",
        &long,
    ] {
        assert!(!is_safe_path(path), "{path:?}");
        assert!(contradiction(|m| m.sequences.path = path.to_owned()).contains("no name of a file"), "{path:?}");
    }
    for path in [
        SCHEMA,
        SEQUENCES,
        &chunk_path(1, None, Compression::None),
        &chunk_path(u32::MAX, Some(u32::MAX), Compression::Gzip),
    ] {
        assert!(is_safe_path(path), "{path:?}");
    }
}

#[test]
fn compressions_are_words() {
    for one in Compression::ALL {
        assert_eq!(one.as_str().parse(), Ok(one));
        assert_eq!(serde_json::to_string(&one).unwrap(), format!("{:?}", one.as_str()));
    }
    assert_eq!("ZSTD".parse::<Compression>(), Err(()));
    assert_eq!(chunk_path(3, Some(7), Compression::Zstd), "data/3.0000000007.copy.zst");
}

proptest! {
    #[test]
    fn no_flipped_bit_goes_unnoticed(place: prop::sample::Index, bit in 0u8..8, in_sum: bool) {
        let (mut text, mut sum) = write(&sample()).unwrap();
        let bytes = if in_sum { &mut sum } else { &mut text };
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        prop_assert!(matches!(read(&text, &sum), Err(Broken::Sum | Broken::NoSum)));
    }

    #[test]
    fn no_truncation_goes_unnoticed(place: prop::sample::Index, in_sum: bool) {
        let (mut text, mut sum) = write(&sample()).unwrap();
        let bytes = if in_sum { &mut sum } else { &mut text };
        bytes.truncate(place.index(bytes.len()));
        prop_assert!(read(&text, &sum).is_err());
    }

    #[test]
    fn nothing_that_is_appended_goes_unnoticed(more in prop::collection::vec(any::<u8>(), 1..20), in_sum: bool) {
        let (mut text, mut sum) = write(&sample()).unwrap();
        if in_sum { &mut sum } else { &mut text }.extend(more);
        prop_assert!(read(&text, &sum).is_err());
    }

    #[test]
    fn anything_is_read_without_panic(text in prop::collection::vec(any::<u8>(), 0..200), sum in ".{0,90}") {
        prop_assert!(read(&text, sum.as_bytes()).is_err());
        let good = format!("{}  {MANIFEST}\n", sha256(&text));
        prop_assert!(read(&text, good.as_bytes()).is_err());
    }
}
