//! `kept_writes`: writes that are remembered for their key or their rejection.

use sea_orm::entity::prelude::*;

/// One row of `kept_writes`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "kept_writes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub write: i64,
    pub author: i64,
    pub key: Option<String>,
    pub kept_until: i64,
    pub payload: Vec<u8>,
}

/// No relations: a row names its neighbours by id, and they may live on another shard.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
