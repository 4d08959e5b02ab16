//! The tables as SeaORM entities, one file a table.
//!
//! Numbers are 64-bit signed in both databases: ids and positions stay below 2^63, codes of enums are small, and a hash is
//! carried over bit by bit. Nothing here decides; `substrate/store` is the only user.

pub mod accounts;
pub mod author_posts;
pub mod comment_counters;
pub mod comment_likes;
pub mod comments;
pub mod dead_letters;
pub mod events;
pub mod inbox_entries;
pub mod inbox_states;
pub mod inbox_window_actors;
pub mod inbox_windows;
pub mod kept_writes;
pub mod lanes;
pub mod mutes;
pub mod names;
pub mod notice_cursors;
pub mod post_counters;
pub mod post_likes;
pub mod posts;
pub mod preferences;
pub mod relations;
pub mod relay_cursors;
pub mod sessions;
pub mod shard;
pub mod subscriptions;
pub mod user_counters;
