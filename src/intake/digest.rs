//! What makes two requests with one idempotency key the same: the parsed command, not its headers, `If-Match` among them.

use aws_lc_rs::digest::{SHA256, digest};

use super::Wish;

/// The first half of the SHA-256 of the command, with no id for what it creates.
pub(super) fn digest_of(wish: &Wish) -> Result<[u8; 16], postcard::Error> {
    let command = wish.clone().unconditional().into_command(0);
    let bytes = postcard::to_stdvec(&command)?;
    let whole = digest(&SHA256, &bytes);
    let mut half = [0; 16];
    half.copy_from_slice(&whole.as_ref()[..16]);
    Ok(half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::ids::{Position, PostId};
    use crate::vocabulary::text::PostBody;

    #[test]
    fn the_same_command_has_the_same_digest() {
        let post = |text: &str| Wish::CreatePost { body: PostBody::parse(text).expect("a body") };

        assert_eq!(digest_of(&post("a")), digest_of(&post("a")));
        assert_ne!(digest_of(&post("a")), digest_of(&post("b")));
    }

    #[test]
    fn what_the_write_depends_on_is_no_part_of_it() {
        let post = PostId::from_raw(1);
        let delete = |if_revision| Wish::DeletePost { post, if_revision };
        let profile = |if_revision| Wish::EditProfile { display_name: None, bio: Some(None), if_revision };

        assert_eq!(digest_of(&delete(Some(Position(7)))), digest_of(&delete(None)));
        assert_eq!(digest_of(&profile(Some(Position(7)))), digest_of(&profile(None)));
    }
}
