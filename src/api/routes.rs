//! Every address there is, in one table. The busiest come first: the router looks from top to bottom.

use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, Resource, Responder, guard};

use super::middleware::Door;
use super::problem::Problem;
use super::{
    admin, auth, comments, documents, feed, ids, jwks, likes, notifications, posts, probes, relations, stream, subscriptions, users, writes,
};

/// Puts the table of a listener in place.
pub(super) fn configure(config: &mut ServiceConfig, door: Door) {
    let mut table = Table { config, seen: Vec::new() };
    list(&mut table, door);
    table.config.default_service(web::to(probes::not_found));
}

fn list(table: &mut Table<'_>, door: Door) {
    table.at("/livez").get(probes::get_livez);
    table.at("/readyz").get(probes::get_readyz);
    match door {
        Door::Public => public(table),
        Door::Admin => operations(table),
    }
}

fn public(table: &mut Table<'_>) {
    table.at("/v1/posts/{post}/like").put(likes::like_post).delete(likes::unlike_post);
    table.at("/v1/posts/{post}/comments").post(comments::create_comment).get(comments::list_comments);
    table.at("/v1/posts/{post}").get(posts::get_post).patch(posts::edit_post).delete(posts::delete_post);
    table.at("/v1/posts").post(posts::create_post);
    table.at("/v1/feed").get(feed::get_feed);
    table.at("/v1/stream").get(stream::get_stream);
    table.at("/v1/writes/{write}").get(writes::get_write);
    table
        .at("/v1/posts/{post}/comments/{comment}")
        .get(comments::get_comment)
        .patch(comments::edit_comment)
        .delete(comments::delete_comment);
    table.at("/v1/posts/{post}/comments/{comment}/like").put(likes::like_comment).delete(likes::unlike_comment);
    table.at("/v1/posts/{post}/likes").get(likes::list_post_likes);
    table.at("/v1/posts/{post}/subscription").put(subscriptions::set_subscription);

    table.at("/v1/users/me").get(users::get_me).patch(users::edit_profile);
    table.at("/v1/users/{user}").get(users::get_user);
    table.at("/v1/users/{user}/posts").get(users::list_user_posts);
    table.at("/v1/users/{user}/followers").get(relations::list_followers);
    table.at("/v1/users/{user}/following").get(relations::list_following);
    table.at("/v1/users/{user}/follow").put(relations::follow_user).delete(relations::unfollow_user);
    table.at("/v1/users/{user}/block").put(relations::block_user).delete(relations::unblock_user);
    table.at("/v1/users/{user}/mute").put(relations::mute_user).delete(relations::unmute_user);
    table.at("/v1/notifications").get(notifications::list_notifications);
    table.at("/v1/notifications/read").post(notifications::mark_read);
    table.at("/v1/notifications/preferences").get(notifications::get_preferences).put(notifications::set_preferences);
    table.at("/v1/ids/{id}").get(ids::get_id);

    table.at("/v1/auth/refresh").post(auth::refresh);
    table.at("/v1/auth/login").post(auth::login);
    table.at("/v1/auth/register").post(auth::register);
    table.at("/v1/auth/logout").post(auth::logout);
    table.at("/v1/auth/sessions").get(auth::list_sessions);
    table.at("/v1/auth/sessions/{session}").delete(auth::end_session);
    table.at("/v1/auth/password").post(auth::change_password);
    table.at("/.well-known/jwks.json").get(jwks::get_jwks);

    table.at("/").get(documents::get_start);
    table.at("/start.css").get(documents::get_style);
    table.at("/openapi.json").get(documents::get_openapi);
    table.at_either("/docs", "/docs/").get(documents::get_docs);
    table.at("/asyncapi.json").get(documents::get_asyncapi);
    table.at("/docs/{file}").get(documents::get_docs_file);
    table.at("/problems/{name}").get(documents::get_problem);
}

fn operations(table: &mut Table<'_>) {
    table.at("/").get(documents::get_dashboard);
    table.at("/dashboard/{file}").get(documents::get_dashboard_file);
    table.at("/metrics").get(probes::get_metrics);
    table.at("/admin/shards").get(admin::list_shards);
    table.at("/admin/lanes").get(admin::list_lanes);
    table.at("/admin/workers").get(admin::list_workers).put(admin::set_workers);
    table.at("/admin/journal").get(admin::get_journal);
    table.at("/admin/topology/plan").get(admin::get_topology_plan);
    table.at("/admin/topology/moves").get(admin::list_topology_moves);
    table.at("/admin/dead-letters").get(admin::list_dead_letters);
    table.at("/admin/dead-letters/{write}").get(admin::get_dead_letter);
    table.at("/admin/dead-letters/{write}/retry").post(admin::retry_dead_letter);
    table.at("/admin/dead-letters/{write}/discard").post(admin::discard_dead_letter);
}

struct Table<'a> {
    config: &'a mut ServiceConfig,
    /// Addresses and their methods, as they were entered.
    seen: Vec<(&'static str, Vec<Method>)>,
}

impl<'a> Table<'a> {
    fn at<'t>(&'t mut self, path: &'static str) -> Address<'t, 'a> {
        Address { table: self, path, resource: Some(web::resource(path)), methods: Vec::new() }
    }

    /// An address that people write in two ways; the first is the documented one.
    fn at_either<'t>(&'t mut self, path: &'static str, other: &'static str) -> Address<'t, 'a> {
        Address { table: self, path, resource: Some(web::resource(vec![path, other])), methods: Vec::new() }
    }
}

/// One address; enters itself when all its methods are there.
struct Address<'t, 'a> {
    table: &'t mut Table<'a>,
    path: &'static str,
    resource: Option<Resource>,
    methods: Vec<Method>,
}

impl Address<'_, '_> {
    fn method<F, Args>(mut self, method: Method, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let route = if method == Method::GET {
            // HEAD is GET without the body.
            self.methods.push(Method::HEAD);
            web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
        } else {
            web::method(method.clone())
        };
        self.methods.push(method);
        self.resource = self.resource.take().map(|resource| resource.route(route.to(handler)));
        self
    }

    fn get<F: Handler<Args>, Args: FromRequest + 'static>(self, handler: F) -> Self
    where
        F::Output: Responder + 'static,
    {
        self.method(Method::GET, handler)
    }

    fn post<F: Handler<Args>, Args: FromRequest + 'static>(self, handler: F) -> Self
    where
        F::Output: Responder + 'static,
    {
        self.method(Method::POST, handler)
    }

    fn put<F: Handler<Args>, Args: FromRequest + 'static>(self, handler: F) -> Self
    where
        F::Output: Responder + 'static,
    {
        self.method(Method::PUT, handler)
    }

    fn patch<F: Handler<Args>, Args: FromRequest + 'static>(self, handler: F) -> Self
    where
        F::Output: Responder + 'static,
    {
        self.method(Method::PATCH, handler)
    }

    fn delete<F: Handler<Args>, Args: FromRequest + 'static>(self, handler: F) -> Self
    where
        F::Output: Responder + 'static,
    {
        self.method(Method::DELETE, handler)
    }
}

impl Drop for Address<'_, '_> {
    fn drop(&mut self) {
        let Some(resource) = self.resource.take() else { return };
        self.methods.sort_by(|left, right| left.as_str().cmp(right.as_str()));
        let text = self.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        // Method names are visible ASCII.
        let allow = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        let refuse = move |_: HttpRequest| {
            let allow = allow.clone();
            async move { Err::<actix_web::HttpResponse, _>(Problem::method_not_allowed(allow)) }
        };
        self.table.config.service(resource.default_service(web::to(refuse)));
        self.table.seen.push((self.path, std::mem::take(&mut self.methods)));
    }
}

/// The table as a list, for tests that walk it.
#[cfg(test)]
pub(super) fn listed(door: Door) -> Vec<(&'static str, Vec<Method>)> {
    let listed = std::cell::RefCell::new(Vec::new());
    let _ = actix_web::App::new().configure(|config| {
        let mut table = Table { config, seen: Vec::new() };
        list(&mut table, door);
        *listed.borrow_mut() = table.seen;
    });
    listed.into_inner()
}
