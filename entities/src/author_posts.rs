//! `author_posts`: the index of a user's posts.

use sea_orm::entity::prelude::*;

/// One row of `author_posts`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "author_posts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub author: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub post: i64,
    pub deleted: bool,
    pub position: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
