//! `posts`: posts; deleted ones are tombstones.

use sea_orm::entity::prelude::*;

/// One row of `posts`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "posts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub post: i64,
    pub author: i64,
    pub body: String,
    pub revision: i64,
    pub edited_at: Option<i64>,
    pub deleted: bool,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
