//! Values through msgpack and JSON.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::super::{json, msgpack, translate, wire};
use crate::schema::{Attribute, Block, Given, Nested, Type};
use crate::value::{Path, Step, Value};

fn types() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![Just(Type::Bool), Just(Type::Number), Just(Type::String)];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|of| Type::List(Box::new(of))),
            inner.clone().prop_map(|of| Type::Map(Box::new(of))),
            btree_map("[a-z_]{1,8}", inner, 0..5).prop_map(Type::Object),
        ]
    })
}

fn numbers() -> impl Strategy<Value = f64> {
    let whole = prop_oneof![-200_i32..300, any::<i32>()].prop_map(f64::from);
    let large = (-9_007_199_254_740_992_i64..=9_007_199_254_740_992).prop_map(|whole| {
        #[expect(clippy::cast_precision_loss, reason = "there is none up to here")]
        let whole = whole as f64;
        whole
    });
    prop_oneof![whole, large, any::<f64>().prop_filter("finite", |number| number.is_finite())]
}

fn values(kind: &Type, with_unknown: bool) -> BoxedStrategy<Value> {
    let known = match kind {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Number => numbers().prop_map(Value::Number).boxed(),
        Type::String => prop_oneof![".{0,40}", ".{250,260}"].prop_map(Value::String).boxed(),
        Type::List(of) => vec(values(of, with_unknown), 0..20).prop_map(Value::List).boxed(),
        Type::Map(of) => btree_map(".{0,8}", values(of, with_unknown), 0..20).prop_map(Value::Map).boxed(),
        Type::Object(attributes) => {
            let names: Vec<String> = attributes.keys().cloned().collect();
            let each: Vec<_> = attributes.values().map(|kind| values(kind, with_unknown)).collect();
            each.prop_map(move |values| Value::Map(names.iter().cloned().zip(values).collect())).boxed()
        }
    };
    let unknown = if with_unknown { Value::Unknown } else { Value::Null };
    prop_oneof![8 => known, 1 => Just(Value::Null), 1 => Just(unknown)].boxed()
}

fn typed(with_unknown: bool) -> impl Strategy<Value = (Type, Value)> {
    types().prop_flat_map(move |kind| {
        let values = values(&kind, with_unknown);
        (Just(kind), values)
    })
}

/// As Terraform writes it into its state file.
fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null | Value::Unknown => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => (*number).into(),
        Value::String(text) => text.clone().into(),
        Value::List(elements) => elements.iter().map(to_json).collect(),
        Value::Map(elements) => elements.iter().map(|(key, element)| (key.clone(), to_json(element))).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_comes_back_the_same((kind, value) in typed(true)) {
        let written = msgpack::write(&value, &kind).expect("a value of its type");
        prop_assert!(msgpack::read(&written, &kind).expect("what was written") == value);
        let cut = &written[..written.len() - 1];
        prop_assert!(msgpack::read(cut, &kind).is_err());
        let more = [&written[..], &[0xc0]].concat();
        prop_assert!(msgpack::read(&more, &kind).is_err());
    }

    #[test]
    fn a_stored_value_is_read_as_it_was((kind, value) in typed(false)) {
        let stored = to_json(&value).to_string();
        prop_assert!(json::read(stored.as_bytes(), &kind).expect("what was stored") == value);
    }

    #[test]
    fn no_bytes_make_it_panic(kind in types(), bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(value) = msgpack::read(&bytes, &kind) {
            prop_assert!(msgpack::write(&value, &kind).is_ok());
        }
        let _either = json::read(&bytes, &kind);
    }

    #[test]
    fn no_change_of_a_byte_makes_it_panic((kind, value) in typed(true), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut written = msgpack::write(&value, &kind).expect("a value of its type");
        let at = at.index(written.len());
        written[at] = byte;
        if let Ok(value) = msgpack::read(&written, &kind) {
            prop_assert!(msgpack::write(&value, &kind).is_ok());
        }
    }
}

fn object(attributes: &[(&str, Type)]) -> Type {
    Type::Object(attributes.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone())).collect())
}

#[test]
fn values_are_written_as_terraform_does() {
    let list = |elements| (Type::List(Box::new(Type::String)), Value::List(elements));
    for ((kind, value), bytes) in [
        ((Type::Bool, Value::Null), &b"\xc0"[..]),
        ((Type::Bool, Value::Bool(true)), b"\xc3"),
        ((Type::Number, Value::Number(5432.0)), b"\xcd\x15\x38"),
        ((Type::Number, Value::Number(-1.0)), b"\xff"),
        ((Type::Number, Value::Number(0.1)), b"\xa30.1"),
        (list(vec![Value::String("x".to_owned()), Value::Unknown]), b"\x92\xa1x\xd4\0\0"),
        ((object(&[("a", Type::Bool)]), Value::Map(BTreeMap::from([("a".to_owned(), Value::Null)]))), b"\x81\xa1a\xc0"),
    ] {
        assert_eq!(msgpack::write(&value, &kind).expect("a value"), bytes, "{value:?}");
        assert!(msgpack::read(bytes, &kind).expect("a value") == value, "{value:?}");
    }
}

#[test]
fn an_unknown_of_which_something_is_known_is_unknown() {
    // As Terraform writes a string that will not be null.
    assert!(msgpack::read(b"\xc7\x03\x0c\x81\x01\xc2", &Type::String).expect("a value") == Value::Unknown);
    assert!(msgpack::read(b"\xd4\x05\0", &Type::String).is_err(), "another extension");
}

#[test]
fn numbers_come_in_every_form() {
    for (bytes, number) in [
        (&b"\xcb\x3f\xe0\0\0\0\0\0\0"[..], 0.5),
        (b"\xca\x3f\0\0\0", 0.5),
        (b"\xd3\xff\xff\xff\xff\xff\xff\xff\xfe", -2.0),
        (b"\xcf\0\0\0\x01\0\0\0\0", 4_294_967_296.0),
        (b"\xd9\x031e3", 1000.0),
    ] {
        assert!(msgpack::read(bytes, &Type::Number).expect("a number") == Value::Number(number), "{number}");
    }
    for wrong in [&b"\xa3NaN"[..], b"\xa3inf", b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\xa1x", b"\xc3"] {
        assert!(msgpack::read(wrong, &Type::Number).is_err(), "{wrong:?}");
    }
    assert!(msgpack::write(&Value::Number(f64::NAN), &Type::Number).is_err());
}

#[test]
fn an_object_has_exactly_its_attributes() {
    let kind = object(&[("a", Type::Bool), ("b", Type::List(Box::new(Type::Number)))]);
    let path = |bytes: &[u8]| msgpack::read(bytes, &kind).expect_err("a misfit").path;
    assert_eq!(path(b"\x81\xa1a\xc2"), Path::attribute("b"), "one is missing");
    assert_eq!(path(b"\x82\xa1a\xc2\xa1c\xc0"), Path::default(), "one is not in the schema, so that it has no path");
    assert_eq!(path(b"\x83\xa1a\xc2\xa1b\xc0\xa1a\xc2"), Path::default(), "one is there twice");
    assert_eq!(path(b"\x82\xa1a\xc2\xa1b\x92\x01\xc3"), Path::attribute("b").then(Step::Index(1)), "one is of another type");
    let partial = Value::Map(BTreeMap::from([("a".to_owned(), Value::Null)]));
    assert_eq!(msgpack::write(&partial, &kind).expect_err("a misfit").path, Path::attribute("b"));
}

#[test]
fn a_length_is_a_claim() {
    for claim in [&b"\xdd\xff\xff\xff\xff"[..], b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\0"] {
        for kind in [Type::String, Type::List(Box::new(Type::String)), Type::Map(Box::new(Type::String)), object(&[])] {
            assert!(msgpack::read(claim, &kind).is_err(), "{claim:?}");
        }
    }
}

#[test]
fn what_an_older_version_stored_is_taken() {
    let kind = object(&[("new", Type::String), ("kept", object(&[("inner", Type::Bool)]))]);
    let read = json::read(br#"{"kept": {"gone": 1}, "old": "x"}"#, &kind).expect("a value");
    let inner = Value::Map(BTreeMap::from([("inner".to_owned(), Value::Null)]));
    assert!(read == Value::Map(BTreeMap::from([("kept".to_owned(), inner), ("new".to_owned(), Value::Null)])));
    assert_eq!(json::read(br#"{"kept": {"inner": 1}}"#, &kind).expect_err("a misfit").path.0.len(), 2);
}

#[test]
fn write_only_attributes_are_found_and_taken_away_at_any_depth() {
    let attribute = |name: &str, is_write_only| Attribute {
        name: name.to_owned(),
        kind: Type::String,
        given: Given::Optional,
        is_sensitive: false,
        is_write_only,
        description: String::new(),
    };
    let inner = Block { attributes: vec![attribute("key_wo", true), attribute("open", false)], ..Block::default() };
    let nested = Nested { name: "inner".to_owned(), block: inner };
    let block = Block { attributes: vec![attribute("password_wo", true)], blocks: vec![nested], ..Block::default() };
    let text = |text: &str| Value::String(text.to_owned());
    let value = |outer: Value, key: Value| {
        let inner = Value::Map(BTreeMap::from([("key_wo".to_owned(), key), ("open".to_owned(), text("o"))]));
        Value::Map(BTreeMap::from([("password_wo".to_owned(), outer), ("inner".to_owned(), inner)]))
    };
    let given = value(text("p"), Value::Unknown);
    let paths = [Path::attribute("password_wo"), Path::attribute("inner").then(Step::Attribute("key_wo".to_owned()))];
    assert_eq!(translate::given_write_only(&given, &block), paths);
    let without = translate::without_write_only(given, &block);
    assert!(without == value(Value::Null, Value::Null));
    assert_eq!(translate::given_write_only(&without, &block), []);
    assert!(translate::without_write_only(Value::Null, &block) == Value::Null);
}

#[test]
fn no_value_shows_in_a_debug_text() {
    let secret = b"\xa6hidden".to_vec();
    let message = wire::ReadRequest {
        current_state: Some(wire::DynamicValue { msgpack: secret.clone(), json: secret }),
        ..wire::ReadRequest::default()
    };
    let text = format!("{message:?}");
    assert!(text.contains("DynamicValue") && !text.contains("104"), "{text}");
}
