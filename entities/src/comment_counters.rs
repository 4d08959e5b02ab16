//! `comment_counters`: likes of a comment.

use sea_orm::entity::prelude::*;

/// One row of `comment_counters`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "comment_counters")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub comment: i64,
    pub likes: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
