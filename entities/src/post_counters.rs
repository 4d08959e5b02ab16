//! `post_counters`: likes and comments of a post, apart from its text so that a like does not rewrite it.

use sea_orm::entity::prelude::*;

/// One row of `post_counters`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "post_counters")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub post: i64,
    pub likes: i64,
    pub comments: i64,
    pub position: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
