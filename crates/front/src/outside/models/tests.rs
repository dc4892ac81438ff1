//! The models are of a shop that there is not, which speaks one protocol after the other.

use std::fmt::Write as _;

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName};
use serde_json::json;

use super::*;
use crate::outside::error::{Known, Names, Refusal};

/// The model of a shop that speaks so.
fn shop(protocol: &str) -> Value {
    let mut model: Value = serde_json::from_str(include_str!("tests/shapes.json")).unwrap();
    model["metadata"] = json!({
        "apiVersion": "2020-01-02", "endpointPrefix": "shop", "serviceId": "Corner Shop Service",
        "protocol": protocol, "jsonVersion": "1.1", "targetPrefix": "Shop",
    });
    model
}

fn of(protocol: &str) -> Api {
    raw::parse(shop(protocol).to_string().as_bytes()).unwrap()
}

fn asked(protocol: &str, action: &str, parameters: &Value) -> Result<String, String> {
    let api = of(protocol);
    let action = Action::find(&api, action, Way::Plain)?;
    let request = action.request("http://e", parameters.as_object().unwrap().clone())?;
    let mut shown = format!("{} {}\n", request.method, request.url);
    for (name, value) in &request.headers {
        let _ = writeln!(shown, "{name}: {}", value.to_str().unwrap());
    }
    Ok(shown + &String::from_utf8_lossy(&request.body))
}

/// The lines of a request: what is asked, the headers, the body.
#[track_caller]
fn check_asked(protocol: &str, action: &str, parameters: &Value, expected: &[&str]) {
    assert_eq!(asked(protocol, action, parameters).unwrap(), expected.join("\n"));
}

#[track_caller]
fn check_refused(action: &str, parameters: &Value, expected: &str) {
    assert_eq!(asked("rest-json", action, parameters).unwrap_err(), expected);
}

fn told(protocol: &str, action: &str, headers: &[(&str, &str)], body: &[u8]) -> Value {
    let api = of(protocol);
    let headers = headers.iter();
    let headers: HeaderMap = headers
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
    let answer = Answer { status: StatusCode::CREATED, headers, body: body.to_vec().into() };
    Action::find(&api, action, Way::Plain).unwrap().result(&answer).unwrap().into()
}

/// An order as a state has it.
fn order() -> Value {
    json!({
        "Id": "o 1", "Count": 2, "Price": 1.5, "Paid": true, "At": "2024-11-15T13:57:13Z",
        "Photo": "aGk=", "Lines": [{ "DbName": "a&b" }, { "DbName": "c" }], "Tags": ["t", "u"],
        "Notes": { "k": "v" }, "Prices": { "p": 0.5 },
    })
}

/// The same in JSON and in XML, as the shop has it.
const IN_JSON: &str = r#"{"id":"o 1","Count":2,"Price":1.5,"Paid":true,"At":1731679033,"Photo":"aGk=","Lines":[{"DBName":"a&b"},{"DBName":"c"}],"Tags":["t","u"],"Notes":{"k":"v"},"Prices":{"p":0.5}}"#;
const IN_XML: &str = "<id>o 1</id><Count>2</Count><Price>1.5</Price><Paid>true</Paid>\
    <At>2024-11-15T13:57:13Z</At><Photo>aGk=</Photo>\
    <Lines><Line><DBName>a&amp;b</DBName></Line><Line><DBName>c</DBName></Line></Lines>\
    <Tag>t</Tag><Tag>u</Tag><Notes><entry><key>k</key><value>v</value></entry></Notes>\
    <Prices><Of>p</Of><Is>0.5</Is></Prices>";

#[test]
fn a_request_in_json_names_its_action_and_has_the_services_names_of_fields() {
    let line = "POST http://e/\nx-amz-target: Shop.PutOrder";
    let kind = "content-type: application/x-amz-json-1.1";
    check_asked("json", "putOrder", &order(), &[line, kind, IN_JSON]);
    let anything = json!({ "Id": "o", "Anything": { "Free": [1] } });
    let body = r#"{"id":"o","Anything":{"Free":[1]}}"#;
    check_asked("json", "putOrder", &anything, &[line, kind, body]);
}

#[test]
fn a_form_numbers_what_is_in_lists_and_maps_and_ec2_has_its_own_names() {
    let line = "POST http://e/";
    let kind = "content-type: application/x-www-form-urlencoded; charset=utf-8";
    let form = "Action=PutOrder&Version=2020-01-02&id=o%201&Count=2&Price=1.5&Paid=true\
                &At=2024-11-15T13%3A57%3A13Z&Photo=aGk%3D&Lines.Line.1.DBName=a%26b\
                &Lines.Line.2.DBName=c&Tag.1=t&Tag.2=u&Notes.entry.1.key=k&Notes.entry.1.value=v\
                &Prices.1.Of=p&Prices.1.Is=0.5";
    check_asked("query", "putOrder", &order(), &[line, kind, form]);
    let form = "Action=PutOrder&Version=2020-01-02&Id=o%201&Count=2&Price=1.5&Paid=true\
                &At=2024-11-15T13%3A57%3A13Z&Photo=aGk%3D&Row.1.DBName=a%26b&Row.2.DBName=c\
                &Tags.1=t&Tags.2=u&Notes.entry.1.key=k&Notes.entry.1.value=v\
                &Prices.1.Of=p&Prices.1.Is=0.5";
    check_asked("ec2", "putOrder", &order(), &[line, kind, form]);
    let none = json!({ "Id": "o", "Lines": [] });
    let form = "Action=PutOrder&Version=2020-01-02&id=o&Lines=";
    check_asked("query", "putOrder", &none, &[line, kind, form]);
}

#[test]
fn a_request_of_rest_has_a_method_a_path_and_a_body_of_what_is_left() {
    let given = json!({ "Shop": "s/1", "Order": order(), "Notes": { "a": "b" } });
    let body = format!(r#"{{"Order":{IN_JSON},"notes":{{"a":"b"}}}}"#);
    let line = "POST http://e/orders/s%2F1";
    check_asked("rest-json", "saveOrder", &given, &[line, "content-type: application/json", &body]);
    let body = format!(
        "<SaveOrderRequest xmlns=\"urn:shop\"><Order>{IN_XML}</Order><notes><entry><key>a</key>\
         <value>b</value></entry></notes></SaveOrderRequest>"
    );
    check_asked("rest-xml", "saveOrder", &given, &[line, "content-type: application/xml", &body]);
    let only = json!({ "Shop": "s" });
    let line = "POST http://e/orders/s";
    check_asked("rest-json", "saveOrder", &only, &[line, "content-type: application/json", "{}"]);
    check_asked("rest-xml", "saveOrder", &only, &[line, ""]);
}

#[test]
fn fields_go_into_the_path_the_query_and_headers() {
    let given = json!({
        "Shop": "s", "Key": "a/b c", "Filters": ["x", "y z"], "Extra": { "e": "1" },
        "Since": 1_731_679_033, "Unless": "2024-11-15T13:57:13Z", "Labels": ["l", "m"],
        "Context": { "c": 1 }, "Meta": { "k": "v" },
    });
    let expected = [
        "GET http://e/s/items/a/b%20c?fixed&filter=x&filter=y%20z&e=1\
         &since=2024-11-15T13%3A57%3A13Z",
        "x-unless: Fri, 15 Nov 2024 13:57:13 GMT",
        "x-labels: l,m",
        "x-context: eyJjIjoxfQ==",
        "x-meta-k: v",
        "",
    ];
    check_asked("rest-json", "getItem", &given, &expected);
    check_asked("rest-xml", "getItem", &given, &expected);
    let broken = json!({ "Shop": "s", "Key": "k", "Labels": ["a\r\nb"] });
    check_refused("getItem", &broken, r#""a\r\nb" cannot be sent as x-labels"#);
}

#[test]
fn a_member_may_be_the_whole_body_and_what_proves_it_goes_with_it() {
    for (body, sent) in [(json!("hi"), "hi"), (json!({ "a": 1 }), r#"{"a":1}"#)] {
        let given = json!({ "Key": "k", "Body": body, "ContentLength": 99 });
        let shown = asked("rest-xml", "putItem", &given).unwrap();
        let crc = crate::outside::crc32(sent.as_bytes());
        let headers = "content-type: application/octet-stream";
        let expected =
            format!("PUT http://e/items/k\n{headers}\nx-amz-checksum-crc32: {crc}\n{sent}");
        assert_eq!(shown, expected);
    }
    let until = json!("2024-11-15T13:57:13Z");
    let policy = json!({ "Policy": { "Grantee": { "Type": "\"T", "Name": "n" }, "Until": until } });
    let shown = asked("rest-xml", "putPolicy", &policy).unwrap();
    let expected = "<Policy xmlns=\"urn:shop\"><Grantee xmlns:xsi=\"urn:xsi\" xsi:type=\"&quot;T\">\
                    <Name>n</Name></Grantee><Until>2024-11-15T13:57:13Z</Until></Policy>";
    assert!(shown.ends_with(expected) && shown.contains("content-md5: "), "{shown}");
    let shown = asked("rest-json", "putPolicy", &policy).unwrap();
    assert!(shown.ends_with(r#"{"Grantee":{"xsi:type":"\"T","Name":"n"},"Until":1731679033}"#));
}

#[test]
fn an_answer_has_the_names_that_a_state_knows() {
    let expected = json!({ "Orders": [order()], "DbName": "d" });
    let json = format!(r#"{{"Orders":[{IN_JSON}],"DBName":"d","__type":"x"}}"#);
    assert_eq!(told("json", "putOrder", &[], json.as_bytes()), expected);
    assert_eq!(told("rest-json", "saveOrder", &[], json.as_bytes()), expected);
    let orders = format!("<Orders><member>{IN_XML}</member></Orders><DBName>d</DBName>");
    let xml = format!(
        "<R xmlns=\"urn:shop\"><PutOrderResult>{orders}</PutOrderResult><RequestId>r</RequestId></R>"
    );
    assert_eq!(told("query", "putOrder", &[], xml.as_bytes()), expected);
    let xml = format!("<R xmlns=\"urn:shop\">{orders}</R>");
    assert_eq!(told("rest-xml", "saveOrder", &[], xml.as_bytes()), expected);
    assert_eq!(told("ec2", "saveOrder", &[], xml.as_bytes()), expected);
    assert_eq!(told("rest-xml", "saveOrder", &[], b"<R><Orders/></R>"), json!({ "Orders": [] }));
    for protocol in ["json", "rest-json", "rest-xml", "query", "ec2"] {
        assert_eq!(told(protocol, "saveOrder", &[], b""), json!({}), "{protocol}");
    }
    assert_eq!(told("json", "putOrder", &[], br#"{"DBName":null}"#), json!({}));
}

#[test]
fn an_answers_fields_are_in_its_headers_too_and_a_body_that_is_no_text_is_base64() {
    let headers = [
        ("x-size", "7"),
        ("x-labels", "l, m"),
        ("last-modified", "Fri, 15 Nov 2024 13:57:13 GMT"),
        ("x-meta-k", "v"),
    ];
    let expected = |body: &str| {
        json!({ "Body": body, "Size": 7, "Labels": ["l", "m"], "Changed": "2024-11-15T13:57:13Z",
                "Meta": { "k": "v" }, "Code": 201 })
    };
    for protocol in ["rest-json", "rest-xml"] {
        assert_eq!(told(protocol, "getItem", &headers, b"text"), expected("text"));
        assert_eq!(told(protocol, "getItem", &headers, b"\xff\xfe"), expected("//4="));
    }
}

#[test]
fn a_whole_body_may_be_fields_or_the_only_field() {
    let policy = json!({ "Policy": { "Grantee": { "Type": "T", "Name": "n" } } });
    let xml =
        b"<Policy><Grantee xmlns:xsi=\"urn:xsi\" xsi:type=\"T\"><Name>n</Name></Grantee></Policy>";
    assert_eq!(told("rest-xml", "putPolicy", &[], xml), policy);
    let json = br#"{"Grantee":{"xsi:type":"T","Name":"n"}}"#;
    assert_eq!(told("rest-json", "putPolicy", &[], json), policy);
    let place = json!({ "Where": "EU" });
    assert_eq!(told("rest-xml", "getPlace", &[], b"<Where>EU</Where>"), place);
    assert_eq!(told("rest-xml", "getPlace", &[], b"<P><Where>EU</Where></P>"), place);
}

#[test]
fn all_that_is_wrong_with_parameters_is_told_with_its_place() {
    check_refused(
        "getItem",
        &json!({ "Wrong": 1, "Key": "k" }),
        "The field 'Wrong' is not supported by Step Functions, The field 'Shop' is required but was missing",
    );
    check_refused(
        "openDBShop",
        &json!({ "Order": { "Count": 1.5, "At": "now", "Photo": "?", "Lines": [{ "x": 1 }, 2] } }),
        "The value of the field 'Order.Count' is no whole number, The value of the field 'Order.At' is no \
         time, The value of the field 'Order.Photo' is no Base64, The field 'Order.Lines[0].x' is not \
         supported by Step Functions, The value of the field 'Order.Lines[1]' is no object, The field \
         'Order.Id' is required but was missing",
    );
    let null = asked("json", "openDBShop", &json!({ "Token": "t", "Order": null })).unwrap();
    assert!(null.ends_with(r#"{"Token":"t"}"#), "{null}");
    let many: Map<String, Value> = (0..25).map(|n| (format!("w{n}"), n.into())).collect();
    let error = asked("rest-json", "getPlace", &many.into()).unwrap_err();
    let told = error.matches("not supported").count();
    assert_eq!(told, limits::AWS_PROBLEMS_TOLD_MAX);
    assert!(error.ends_with(", and 5 more"), "{error}");
}

#[test]
fn values_that_mean_the_same_are_taken_and_a_token_is_made_up_where_there_is_none() {
    let given =
        json!({ "Order": { "ID": 7, "Count": "3", "Price": "1.5", "Paid": "true", "At": null } });
    let shown = asked("json", "openDBShop", &given).unwrap();
    let expected = r#""Order":{"id":"7","Count":3,"Price":1.5,"Paid":true}"#;
    assert!(shown.contains(expected), "{shown}");
    let token = shown.split_once(r#""Token":""#).unwrap().1;
    assert_eq!(token.find('"'), Some(36), "{shown}");
    let whole = json!({ "Token": "t", "Order": { "Id": "o", "Count": 4.0 } });
    let shown = asked("json", "openDBShop", &whole).unwrap();
    assert!(shown.ends_with(r#"{"Token":"t","Order":{"id":"o","Count":4}}"#), "{shown}");
}

#[test]
fn an_action_that_is_not_there_is_told() {
    let none = json!({});
    let error = "Corner Shop Service has no action closeShop in its model of 2020-01-02";
    check_refused("closeShop", &none, error);
    let error = "Corner Shop Service has no action openDbShop; it is called openDBShop";
    check_refused("openDbShop", &none, error);
    let error = asked("rest-json", "watch", &none).unwrap_err();
    assert!(error.contains("stream of events"), "{error}");
}

#[test]
fn errors_are_those_of_the_model_and_the_clients_own_for_the_rest() {
    let api = of("query");
    assert_eq!(api.client, "CornerShop");
    for (code, expected) in [
        ("NoShop", "CornerShop.NoDbShopException"),
        ("NoDBShopFault", "CornerShop.NoDbShopException"),
        ("Throttling", "CornerShop.CornerShopException"),
    ] {
        let text = String::new;
        let code = code.to_owned();
        let refusal = Refusal { status: 400, code, message: text(), request: text(), host: None };
        let names = Names { client: &api.client, optimized: None, known: Known::Modelled(&api) };
        assert_eq!(refusal.told(&names, Way::Plain).error, expected);
    }
}

#[test]
fn the_first_protocol_that_is_spoken_here_is_taken_and_none_is_told() {
    let mut model = shop("smithy-rpc-v2-cbor");
    let error = raw::parse(model.to_string().as_bytes()).unwrap_err();
    assert!(error.starts_with("it speaks smithy-rpc-v2-cbor, and this server json"), "{error}");
    model["metadata"]["protocols"] = json!(["smithy-rpc-v2-cbor", "query", "json"]);
    let api = raw::parse(model.to_string().as_bytes()).unwrap();
    assert_eq!(api.protocol, api::Protocol::Query);
}

#[test]
fn a_model_that_is_none_is_refused_with_what_is_wrong() {
    let broken = |change: fn(&mut Value)| {
        let mut model = shop("json");
        change(&mut model);
        raw::parse(model.to_string().as_bytes()).unwrap_err()
    };
    let error = broken(|model| model["shapes"]["Lines"]["member"]["shape"] = "None".into());
    assert_eq!(error, "it names a shape \"None\" that it does not have");
    let error = broken(|model| model["shapes"]["Text"]["type"] = "rope".into());
    assert_eq!(error, "the shape Text is of an unknown type \"rope\"");
    let error = broken(|model| model["shapes"]["Policies"]["payload"] = "None".into());
    assert_eq!(error, "the payload None of the shape Policies is no member");
    let error = broken(|model| model["metadata"] = json!({}));
    assert!(error.contains("apiVersion"), "{error}");
    assert!(raw::parse(b"").is_err());
}

/// A folder with a model in it, packed or not.
fn folder(packed: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = shop("json").to_string();
    for version in ["2019-01-01", "2020-01-02"] {
        let place = folder.path().join("corner-shop").join(version);
        std::fs::create_dir_all(&place).unwrap();
        if packed {
            let file = std::fs::File::create(place.join("service-2.json.gz")).unwrap();
            let mut pack = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            std::io::Write::write_all(&mut pack, model.as_bytes()).unwrap();
            pack.finish().unwrap();
        } else {
            let model = model.replace("2020-01-02", version);
            std::fs::write(place.join("service-2.json"), model).unwrap();
        }
    }
    folder
}

#[tokio::test]
async fn a_model_is_found_by_its_services_name_packed_or_not_and_kept() {
    for packed in [false, true] {
        let folder = folder(packed);
        let models = Models::new(folder.path());
        let api = models.find("cornershop").await.unwrap().unwrap();
        assert_eq!(api.version, "2020-01-02", "the newest");
        assert!(models.find("other").await.unwrap().is_none());
        assert!(models.find("../corner-shop").await.unwrap().is_none(), "names are no paths");
        folder.close().unwrap();
        assert!(models.find("cornershop").await.unwrap().is_some(), "it is kept");
        let error = models.find("third").await.unwrap_err();
        assert!(error.contains("--aws-models names the folder `data` of botocore"), "{error}");
    }
}

#[tokio::test]
async fn models_that_are_too_many_are_forgotten_and_one_that_is_too_long_is_not_read() {
    let folder = folder(false);
    let models = Models::new(folder.path());
    for n in 0..limits::AWS_MODELS_KEPT_MAX {
        assert!(models.find(&format!("none{n}")).await.unwrap().is_none());
    }
    assert_eq!(models.kept.lock().unwrap().len(), limits::AWS_MODELS_KEPT_MAX);
    assert!(models.find("cornershop").await.unwrap().is_some());
    assert_eq!(models.kept.lock().unwrap().len(), 1);
    let models = Models::new(folder.path());
    let path = folder.path().join("corner-shop/2020-01-02/service-2.json");
    let mut model = std::fs::read(&path).unwrap();
    model.resize(usize::try_from(limits::AWS_MODEL_BYTES_MAX).unwrap(), b' ');
    std::fs::write(&path, &model).unwrap();
    assert!(models.find("cornershop").await.unwrap().is_some(), "at the limit");
    model.push(b' ');
    std::fs::write(&path, &model).unwrap();
    let error = Models::new(folder.path()).find("cornershop").await.unwrap_err();
    assert!(error.contains("it has more than 33554432 bytes"), "{error}");
    std::fs::write(&path, b"{}").unwrap();
    let error = Models::new(folder.path()).find("cornershop").await.unwrap_err();
    assert!(error.contains("service-2.json is no model of a service: missing field"), "{error}");
}
