//! `inbox_windows`: likes and follows that gather before they become an entry.

use sea_orm::entity::prelude::*;

/// One row of `inbox_windows`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "inbox_windows")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub target_kind: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub target: i64,
    pub post: Option<i64>,
    pub comment: Option<i64>,
    pub people: i64,
    pub stage: i64,
    pub due_at: i64,
    /// Ids of eight bytes each, big end first, in the order in which they came.
    pub first_actors: Vec<u8>,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
