//! Lists in headers: what has a comma or a quote in it stands in quotes.

/// Items as one header.
pub(super) fn join(items: impl Iterator<Item = String>) -> String {
    let quoted = items.map(|item| {
        if !item.contains([',', '"']) {
            return item;
        }
        format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""))
    });
    quoted.collect::<Vec<_>>().join(",")
}

/// The items of a header.
pub(super) fn split(header: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut is_quoted = false;
    let mut chars = header.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if is_quoted => item.extend(chars.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => items.push(std::mem::take(&mut item)),
            c => item.push(c),
        }
    }
    items.push(item);
    items.iter().map(|item| item.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_with_commas_and_quotes_are_told_apart() {
        let items = ["a", "b c", "d,e", "f\"g\\", ""].map(str::to_owned);
        let header = join(items.clone().into_iter());
        assert_eq!(header, r#"a,b c,"d,e","f\"g\\","#);
        assert_eq!(split(&header), items);
        assert_eq!(split(" l , \"m, n\""), ["l", "m, n"]);
    }
}
