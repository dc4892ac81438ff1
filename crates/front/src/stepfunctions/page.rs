//! Lists in pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::AwsError;
use super::params::Params;

/// One page of `items` from where the token says, and the token of the next one.
pub(super) fn page<T>(
    params: &Params,
    items: Vec<T>,
) -> Result<(Vec<T>, Option<String>), AwsError> {
    let size = params.page_size();
    let begin = match params.text("nextToken")? {
        None => 0,
        Some(token) => read(token)
            .ok_or_else(|| AwsError::new("InvalidToken", "Invalid Token: 'Invalid token'"))?,
    };
    let end = begin.saturating_add(size);
    let next = (items.len() > end).then(|| URL_SAFE_NO_PAD.encode(format!("page {end}")));
    Ok((items.into_iter().skip(begin).take(size).collect(), next))
}

fn read(token: &str) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    std::str::from_utf8(&bytes).ok()?.strip_prefix("page ")?.parse().ok()
}

/// The size of a page and the item after which it begins.
pub(super) fn cursor(params: &Params) -> Result<(usize, Option<String>), AwsError> {
    let size = params.page_size();
    let Some(token) = params.text("nextToken")? else { return Ok((size, None)) };
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let after = bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    let after = after.and_then(|text| text.strip_prefix("after "));
    let invalid = || AwsError::new("InvalidToken", "Invalid Token: 'Invalid token'");
    Ok((size, Some(after.ok_or_else(invalid)?.to_owned())))
}

/// The token of the page after that item.
pub(super) fn next_cursor(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("after {last}"))
}
