//! A place in an inbox, as `Last-Event-ID` and `sosik tail --after` have it: the epoch, a colon, and the number of an entry.

/// An epoch is a short text of visible characters.
const EPOCH_BYTES_MAX: usize = 64;

/// The epoch and the number; `None` for anything else.
pub fn parse(text: &str) -> Option<(String, u64)> {
    let (epoch, seq) = text.rsplit_once(':')?;
    let is_epoch = (1..=EPOCH_BYTES_MAX).contains(&epoch.len()) && epoch.bytes().all(|byte| byte.is_ascii_graphic());
    let is_number = seq.bytes().all(|byte| byte.is_ascii_digit());
    let number = seq.parse().ok()?;
    (is_epoch && is_number).then(|| (epoch.to_owned(), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_an_epoch_and_a_number() {
        assert_eq!(parse("e1:17"), Some(("e1".to_owned(), 17)));
        assert_eq!(parse("a:b:0"), Some(("a:b".to_owned(), 0)));
        for text in
            ["", ":", "17", ":17", "e:", "e:-1", "e:+1", "e: 1", "e 1:1", "é:1", "e:18446744073709551616", &format!("{}:1", "e".repeat(65))]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
