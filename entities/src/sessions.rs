//! `sessions`: signed-in devices.

use sea_orm::entity::prelude::*;

/// One row of `sessions`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub session: i64,
    pub user: i64,
    pub device: String,
    pub address_hash: i64,
    pub opened_at: i64,
    pub last_used_at: i64,
    pub generation: i64,
    pub rotated_at: i64,
    pub ended_at: Option<i64>,
    pub position: i64,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
