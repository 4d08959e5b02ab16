//! Accounts, sessions and names.

use sea_orm_migration::prelude::*;

use super::{index, keyed, number, number_or_null, text, text_or_null};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let accounts = keyed("accounts", "user")
        .col(text("username"))
        .col(text("display_name"))
        .col(text_or_null("bio"))
        .col(text_or_null("password_hash"))
        .col(number("role"))
        .col(number("revision"))
        .col(number("failed_logins"))
        .col(number("backed_off_until"))
        .take();
    manager.create_table(accounts).await?;
    let backed_off =
        index("accounts_backed_off", "accounts", &["backed_off_until"]).and_where(Expr::col("backed_off_until").gt(0)).take();
    manager.create_index(backed_off).await?;
    let sessions = keyed("sessions", "session")
        .col(number("user"))
        .col(text("device"))
        .col(number("address_hash"))
        .col(number("opened_at"))
        .col(number("last_used_at"))
        .col(number("generation"))
        .col(number("rotated_at"))
        .col(number_or_null("ended_at"))
        .col(number("position"))
        .take();
    manager.create_table(sessions).await?;
    manager.create_index(index("sessions_user", "sessions", &["user"])).await?;
    manager.create_index(index("sessions_ended", "sessions", &["ended_at"])).await?;
    manager.create_index(index("sessions_used", "sessions", &["last_used_at"])).await?;
    let names = Table::create()
        .table("names")
        .col(ColumnDef::new("name").text().not_null().primary_key())
        .col(number("user"))
        .col(number("position"))
        .take();
    manager.create_table(names).await
}
