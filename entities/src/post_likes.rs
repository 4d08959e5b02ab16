//! `post_likes`: who likes which post; unset ones are tombstones.

use sea_orm::entity::prelude::*;

/// One row of `post_likes`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "post_likes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub post: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user: i64,
    pub liked: bool,
    pub position: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
