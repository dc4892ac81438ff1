use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn store() -> Value {
    json!({
        "store": {
            "book": [
                { "category": "reference", "author": "Rees", "title": "Sayings", "price": 8.95 },
                { "category": "fiction", "author": "Waugh", "title": "Sword", "price": 12.99 },
                { "category": "fiction", "author": "Melville", "title": "Moby Dick", "isbn": "0-553", "price": 8.99 },
                { "category": "fiction", "author": "Tolkien", "title": "Rings", "isbn": "0-395", "price": 22.99 }
            ],
            "bicycle": { "color": "red", "price": 19.95 }
        },
        "expensive": 10,
        "numbers": [1, 2, 3, 4],
        "delivery-partner": "x",
        "nul": null
    })
}

fn find(path: &str) -> Result<Value, String> {
    let path = Path::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    path.find_in(&store()).map_err(|NotFound(text)| text)
}

#[track_caller]
fn check(path: &str, expected: Value) {
    assert_eq!(find(path), Ok(expected), "{path}");
}

#[track_caller]
fn check_missing(path: &str, expected: &str) {
    assert_eq!(find(path), Err(expected.to_owned()), "{path}");
}

#[test]
fn definite_paths_give_the_value() {
    check("$.expensive", json!(10));
    check("$['store']['bicycle'].color", json!("red"));
    check("$.delivery-partner", json!("x"));
    check("$.nul", json!(null));
    check("$.numbers[0]", json!(1));
    check("$.numbers[-1]", json!(4));
    check("$.store.bicycle['color','price']", json!({ "color": "red", "price": 19.95 }));
}

#[test]
fn other_paths_give_an_array() {
    check("$.store.book[*].author", json!(["Rees", "Waugh", "Melville", "Tolkien"]));
    check("$..author", json!(["Rees", "Waugh", "Melville", "Tolkien"]));
    check("$.store.*", json!([store()["store"]["book"], store()["store"]["bicycle"]]));
    check("$.store..price", json!([8.95, 12.99, 8.99, 22.99, 19.95]));
    check("$..book[2].title", json!(["Moby Dick"]));
    check("$.numbers[1:3]", json!([2, 3]));
    check("$.numbers[-2:]", json!([3, 4]));
    check("$.numbers[:2]", json!([1, 2]));
    check("$.numbers[0,2,9]", json!([1, 3]));
    check("$.absent[*]", json!([]));
    check("$.item.items[1:5].value", json!([]));
    check("$.numbers[9:]", json!([]));
}

#[test]
fn filters_select() {
    check("$.store.book[?(@.isbn)].title", json!(["Moby Dick", "Rings"]));
    check("$.store.book[?(@.price < 10)].title", json!(["Sayings", "Moby Dick"]));
    check("$..book[?(@.price <= $['expensive'])].title", json!(["Sayings", "Moby Dick"]));
    check("$.store.book[?(@.author =~ /.*REES/i)].title", json!(["Sayings"]));
    check("$.store.book[?(@.category == 'fiction' && @.price > 20)].title", json!(["Rings"]));
    check(
        "$.store.book[?(!@.isbn || @.price == 22.99)].title",
        json!(["Sayings", "Sword", "Rings"]),
    );
    check("$.store.book[?(@.author in ['Rees', 'Waugh'])].price", json!([8.95, 12.99]));
    check("$.store.book[?(@.title contains 'Moby')].author", json!(["Melville"]));
    check("$.numbers[?(@ >= 3)]", json!([3, 4]));
    check("$.store.bicycle[?(@.color == 'red')].price", json!([19.95]));
    check("$..[?(@.color == \"red\")].price", json!([19.95]));
}

#[test]
fn functions_end_a_path() {
    check("$.numbers.length()", json!(4));
    check("$.numbers.sum()", json!(10.0));
    check("$.numbers.min()", json!(1.0));
    check("$.numbers.max()", json!(4.0));
    check("$.numbers.avg()", json!(2.5));
    check("$..price.max()", json!(22.99));
    check("$.store.bicycle.keys()", json!(["color", "price"]));
    check("$.numbers.first()", json!(1));
    check("$.numbers.last()", json!(4));
    check("$.numbers.append(5)", json!([1, 2, 3, 4, 5]));
    check("$.store.book[*].length()", json!(4));
}

#[test]
fn what_is_missing_is_told_as_aws_tells_it() {
    check_missing("$.absent", "No results for path: $['absent']");
    check_missing("$.store.absent", "No results for path: $['store']['absent']");
    check_missing("$.no.such.path", "Missing property in path $['no']");
    check_missing("$.numbers[9]", "No results for path: $['numbers'][9]");
    check_missing(
        "$.expensive[0]",
        "Filter: [0] can only be applied to arrays. Current context is: 10",
    );
}

#[test]
fn quotes_keep_what_is_no_escape() {
    let path = Path::parse(r#"$['Test\""Name"']"#).expect("it parses");
    assert_eq!(path.find_in(&json!({ "Test\\\"\"Name\"": 1 })), Ok(json!(1)));
}

#[test]
fn what_is_no_path_is_refused() {
    let wrong = [
        "",
        "a",
        "$.",
        "$..",
        "$.a b",
        "$[",
        "$['a",
        "$[?(@.a]",
        "$.a[?(@.x ==)]",
        "$.a[1.5]",
        "$.a(",
        "$$x y",
    ];
    for text in wrong {
        assert!(Path::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_reference_path_writes_where_it_points() {
    let set = |path: &str, mut document: Value| {
        let path = ReferencePath::parse(path).expect("it is one");
        path.set(&mut document, json!("new")).map(|()| document).map_err(|error| error.name)
    };
    assert_eq!(set("$", json!({ "a": 1 })), Ok(json!("new")));
    assert_eq!(set("$.a", json!({ "a": 1, "b": 2 })), Ok(json!({ "a": "new", "b": 2 })));
    assert_eq!(set("$.b.c", json!({ "a": 1 })), Ok(json!({ "a": 1, "b": { "c": "new" } })));
    assert_eq!(set("$.a[1]", json!({ "a": [1, 2] })), Ok(json!({ "a": [1, "new"] })));
    assert_eq!(set("$.a.b", json!({ "a": 1 })), Err(ErrorName::ResultPathMatchFailure));
    assert_eq!(set("$.a", json!("text")), Err(ErrorName::ResultPathMatchFailure));
    for wrong in ["$.a[*]", "$..a", "$.a[0:1]", "$.a[?(@.b)]", "$.a.length()", "$['a','b']"] {
        assert!(ReferencePath::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = (0..DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
    assert!(!is_deeper(&deep, DEPTH_MAX));
    let deeper = json!([deep]);
    assert!(is_deeper(&deeper, DEPTH_MAX));
    let mut document = json!({});
    assert!(ReferencePath::parse("$.a").expect("it is one").set(&mut document, deeper).is_err());
    let long = format!("${}", ".a".repeat(DEPTH_MAX + 1));
    assert!(ReferencePath::parse(&long).expect("it is one").set(&mut document, json!(1)).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"\$[a-c.*\[\]0-9?(@)'"=<>!&|,: /~-]{0,30}"#) {
        if let Ok(path) = Path::parse(&text) {
            let _ = path.find_in(&store());
            prop_assert_eq!(path.as_str(), text);
        }
    }

    #[test]
    fn any_text_parses_or_is_refused(text in ".{0,40}") {
        let _ = Path::parse(&text).map(|path| path.find_in(&store()).is_ok());
    }
}
