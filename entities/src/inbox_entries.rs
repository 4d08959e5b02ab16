//! `inbox_entries`: what people were told.

use sea_orm::entity::prelude::*;

/// One row of `inbox_entries`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "inbox_entries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub id: i64,
    pub kind: i64,
    pub target_kind: i64,
    pub target: i64,
    pub actor: i64,
    pub actors: Vec<u8>,
    pub people: i64,
    pub post: Option<i64>,
    pub comment: Option<i64>,
    pub created_at: i64,
    pub state: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
