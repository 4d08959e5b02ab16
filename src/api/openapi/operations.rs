//! The operations, one line each where one line is enough.

use serde_json::{Map, Value, json};

use super::reference;

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Access {
    /// Credentials do not matter.
    Nobody,
    /// Anybody may read, and sees more when signed in; nobody without signing in where anonymous reads are off.
    Anybody,
    Somebody,
    /// Somebody, who may also say so later, in the protocol that is switched to.
    ByProtocol,
}

/// The body that an operation takes.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct RequestBody {
    pub(super) schema: &'static str,
    pub(super) optional: bool,
    patch: bool,
}

impl RequestBody {
    pub(super) fn media_types(self) -> &'static [&'static str] {
        if self.patch { &["application/json", "application/merge-patch+json"] } else { &["application/json"] }
    }
}

/// What an operation answers with when it is well.
#[derive(Debug, Clone, Copy)]
enum Reply {
    /// The write and the resource, 202, or 200 and 201 when it was waited for.
    Accepted {
        created: bool,
    },
    Json {
        status: u16,
        schema: &'static str,
        tagged: bool,
    },
    Page(&'static str),
    /// What a small write came to, or the write if it takes longer.
    Small(&'static str),
    Empty,
    Text(&'static str),
}

#[derive(Debug, Clone)]
pub(in crate::api) struct Operation {
    pub(in crate::api) path: &'static str,
    pub(in crate::api) method: &'static str,
    pub(in crate::api) access: Access,
    pub(in crate::api) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [&'static str],
    pub(super) body: Option<RequestBody>,
    pub(super) accepts_write: bool,
    reply: Reply,
}

/// One well answer.
pub(super) struct Success {
    pub(super) status: u16,
    description: &'static str,
    content: Option<Value>,
    headers: &'static [&'static str],
}

impl Success {
    pub(super) fn describe(self) -> Value {
        let headers: Map<String, Value> = self.headers.iter().map(|name| ((*name).to_owned(), reference("headers", name))).collect();
        let mut described = json!({"description": self.description, "headers": headers});
        if let (Some(content), Some(described)) = (self.content, described.as_object_mut()) {
            described.insert("content".to_owned(), content);
        }
        described
    }
}

fn json_of(schema: &str) -> Option<Value> {
    Some(json!({"application/json": {"schema": reference("schemas", schema)}}))
}

impl Operation {
    pub(super) fn successes(&self) -> Vec<Success> {
        const WRITTEN: &[&str] = &["Location", "Consistency-Token", "Idempotency-Replayed", "Preference-Applied"];
        let success = |status, description, content, headers| Success { status, description, content, headers };
        match self.reply {
            Reply::Accepted { created } => {
                let mut successes = vec![success(202, "Durable, and to be applied.", json_of("Accepted"), WRITTEN)];
                successes.push(success(200, "Visible to everybody, as the request waited for.", json_of("Accepted"), WRITTEN));
                if created {
                    successes.push(success(201, "Visible to everybody, as the request waited for.", json_of("Accepted"), WRITTEN));
                }
                successes
            }
            Reply::Json { status, schema, tagged: true } => vec![
                success(status, "The object.", json_of(schema), &["ETag", "Consistency-Token"]),
                success(304, "Nothing that If-None-Match does not know.", None, &["ETag", "Consistency-Token"]),
            ],
            Reply::Json { status, schema, tagged: false } => vec![success(status, "The object.", json_of(schema), &[])],
            Reply::Page(schema) => vec![success(200, "A page.", json_of(schema), &["Link", "Consistency-Token"])],
            Reply::Small(schema) => vec![
                success(200, "Done.", json_of(schema), &["Consistency-Token", "Idempotency-Replayed"]),
                success(202, "Durable, and to be applied.", json_of("Accepted"), WRITTEN),
            ],
            Reply::Empty => vec![success(204, "Done.", None, &[])],
            Reply::Text(media_type) => vec![success(200, "The document.", Some(json!({media_type: {}})), &[])],
        }
    }

    /// The problems that this operation can meet.
    pub(super) fn problems(&self) -> Vec<&'static str> {
        let mut problems = Vec::new();
        let has_id = self.path.contains('{');
        if has_id || self.body.is_some() || self.access != Access::Nobody {
            problems.push("malformed");
        }
        if self.access != Access::Nobody || self.tag == "sign-in" {
            problems.extend(["unauthenticated", "forbidden", "unavailable"]);
        }
        if has_id {
            problems.push("not-found");
        }
        if self.path.contains("{post}") {
            problems.push("gone");
        }
        if matches!(self.reply, Reply::Json { .. } | Reply::Page(_) | Reply::Small(_) | Reply::Accepted { .. }) {
            problems.push("not-acceptable");
        }
        if self.method != "get" {
            problems.extend(["request-timeout", "payload-too-large", "unsupported-media-type"]);
            problems.extend(["invalid", "too-many-requests", "conflict", "indefinite"]);
        } else if !self.parameters.is_empty() {
            problems.push("invalid");
        }
        if self.access == Access::ByProtocol {
            problems.extend(["not-found", "gone", "upgrade-required", "too-many-requests"]);
        }
        if self.parameters.contains(&"if_match") {
            problems.push("precondition-failed");
        }
        problems
    }

    const fn of(method: &'static str, path: &'static str, id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self {
            path,
            method,
            access: Access::Nobody,
            id,
            tag,
            summary,
            parameters: &[],
            body: None,
            accepts_write: false,
            reply: Reply::Empty,
        }
    }

    /// A write of the contract's table.
    const fn write(mut self) -> Self {
        self.access = Access::Somebody;
        self.accepts_write = true;
        self.reply = Reply::Accepted { created: false };
        self
    }

    const fn creates(mut self) -> Self {
        self.reply = Reply::Accepted { created: true };
        self
    }

    const fn body(mut self, schema: &'static str) -> Self {
        self.body = Some(RequestBody { schema, optional: false, patch: matches!(self.method.as_bytes(), b"patch") });
        self
    }

    const fn optional_body(mut self, schema: &'static str) -> Self {
        self.body = Some(RequestBody { schema, optional: true, patch: matches!(self.method.as_bytes(), b"patch") });
        self
    }

    const fn conditional(mut self) -> Self {
        self.parameters = &["if_match"];
        self
    }

    /// A read that anybody may do.
    const fn open(mut self) -> Self {
        self.access = Access::Anybody;
        self
    }

    const fn signed_in(mut self) -> Self {
        self.access = Access::Somebody;
        self
    }

    const fn object(mut self, schema: &'static str) -> Self {
        self.parameters = &["if_none_match", "consistency_token"];
        self.reply = Reply::Json { status: 200, schema, tagged: true };
        self
    }

    const fn json(mut self, status: u16, schema: &'static str) -> Self {
        self.reply = Reply::Json { status, schema, tagged: false };
        self
    }

    const fn page(mut self, schema: &'static str) -> Self {
        self.parameters = &["limit", "cursor", "consistency_token"];
        self.reply = Reply::Page(schema);
        self
    }

    /// A write that is answered once it is done.
    const fn small(mut self, schema: &'static str) -> Self {
        self.access = Access::Somebody;
        self.accepts_write = true;
        self.reply = Reply::Small(schema);
        self
    }

    const fn text(mut self, media_type: &'static str) -> Self {
        self.reply = Reply::Text(media_type);
        self
    }

    const fn by_protocol(mut self) -> Self {
        self.access = Access::ByProtocol;
        self
    }

    const fn with(mut self, parameters: &'static [&'static str]) -> Self {
        self.parameters = parameters;
        self
    }
}

/// All of them, in the order of the contract.
pub(in crate::api) fn all() -> Vec<Operation> {
    let mut operations = posts();
    operations.extend(comments());
    operations.extend(users());
    operations.extend(notifications());
    operations.extend(sign_in());
    operations.extend(server());
    operations
}

fn posts() -> Vec<Operation> {
    let of = |method, path, id, summary| Operation::of(method, path, id, "posts", summary);
    vec![
        of("post", "/v1/posts", "create_post", "Post something.").write().creates().body("NewPost"),
        of("get", "/v1/posts/{post}", "get_post", "A post.").open().object("Post"),
        of("patch", "/v1/posts/{post}", "edit_post", "Change the text of one's post.").write().conditional().body("NewPost"),
        of("delete", "/v1/posts/{post}", "delete_post", "Delete one's post.").write().conditional(),
        of("put", "/v1/posts/{post}/like", "like_post", "Like a post.").write(),
        of("delete", "/v1/posts/{post}/like", "unlike_post", "Take a like back.").write(),
        of("get", "/v1/posts/{post}/likes", "list_post_likes", "Who likes a post.").open().page("UserPage"),
        of("put", "/v1/posts/{post}/subscription", "set_subscription", "How to hear of a post's thread.").write().body("NewSubscription"),
        of("get", "/v1/feed", "get_feed", "Posts by those one follows, newest first.").signed_in().page("PostPage"),
    ]
}

fn comments() -> Vec<Operation> {
    let of = |method, path, id, summary| Operation::of(method, path, id, "comments", summary);
    vec![
        of("post", "/v1/posts/{post}/comments", "create_comment", "Comment on a post.").write().creates().body("NewComment"),
        of("get", "/v1/posts/{post}/comments", "list_comments", "A post's comments.").open().page("CommentPage").with(&[
            "order",
            "limit",
            "cursor",
            "consistency_token",
        ]),
        of("get", "/v1/posts/{post}/comments/{comment}", "get_comment", "A comment.").open().object("Comment"),
        of("patch", "/v1/posts/{post}/comments/{comment}", "edit_comment", "Change the text of one's comment.")
            .write()
            .conditional()
            .body("CommentEdit"),
        of("delete", "/v1/posts/{post}/comments/{comment}", "delete_comment", "Delete one's comment.").write().conditional(),
        of("put", "/v1/posts/{post}/comments/{comment}/like", "like_comment", "Like a comment.").write(),
        of("delete", "/v1/posts/{post}/comments/{comment}/like", "unlike_comment", "Take a like back.").write(),
    ]
}

fn users() -> Vec<Operation> {
    let of = |method, path, id, summary| Operation::of(method, path, id, "users", summary);
    vec![
        of("get", "/v1/users/me", "get_me", "Oneself.").signed_in().object("User"),
        of("patch", "/v1/users/me", "edit_profile", "Change one's profile. Answered 200 once committed.")
            .write()
            .conditional()
            .optional_body("ProfileEdit"),
        of("get", "/v1/users/{user}", "get_user", "A user.").open().object("User"),
        of("get", "/v1/users/{user}/posts", "list_user_posts", "A user's posts, newest first.").open().page("PostPage"),
        of("get", "/v1/users/{user}/followers", "list_followers", "Who follows a user.").open().page("UserPage"),
        of("get", "/v1/users/{user}/following", "list_following", "Whom a user follows.").open().page("UserPage"),
        of("put", "/v1/users/{user}/follow", "follow_user", "Follow a user.").write().optional_body("NewFollow"),
        of("delete", "/v1/users/{user}/follow", "unfollow_user", "Stop following a user.").write(),
        of("put", "/v1/users/{user}/block", "block_user", "Block a user.").write(),
        of("delete", "/v1/users/{user}/block", "unblock_user", "Stop blocking a user.").write(),
        of("put", "/v1/users/{user}/mute", "mute_user", "Mute a user.").write(),
        of("delete", "/v1/users/{user}/mute", "unmute_user", "Stop muting a user.").write(),
        Operation::of("get", "/v1/writes/{write}", "get_write", "writes", "What became of one's write.").signed_in().json(200, "Write"),
    ]
}

fn notifications() -> Vec<Operation> {
    let of = |method, path, id, summary| Operation::of(method, path, id, "notifications", summary);
    vec![
        of("get", "/v1/notifications", "list_notifications", "One's inbox, newest first.").signed_in().page("NotificationPage").with(&[
            "grouped",
            "unread",
            "limit",
            "cursor",
            "consistency_token",
        ]),
        of("post", "/v1/notifications/read", "mark_read", "Mark entries as read. Answered 200 once committed.")
            .small("Unread")
            .body("ReadMark"),
        of("get", "/v1/notifications/preferences", "get_preferences", "What one wants to hear of.").signed_in().json(200, "Preferences"),
        of("put", "/v1/notifications/preferences", "set_preferences", "Say what one wants to hear of. Answered 200 once committed.")
            .small("Preferences")
            .body("NewPreferences"),
    ]
}

fn sign_in() -> Vec<Operation> {
    let of = |method, path, id, summary| Operation::of(method, path, id, "sign-in", summary);
    const COOKIES: &[&str] = &["cookies"];
    vec![
        of("post", "/v1/auth/register", "register", "Make an account and sign in.").with(COOKIES).json(201, "Grant").body("Registration"),
        of("post", "/v1/auth/login", "login", "Sign in.").with(COOKIES).json(200, "Grant").body("Login"),
        of("post", "/v1/auth/refresh", "refresh", "New tokens for a refresh token, which works once.")
            .with(COOKIES)
            .json(200, "Grant")
            .optional_body("Refresh"),
        of("post", "/v1/auth/logout", "logout", "End this session.").signed_in(),
        of("get", "/v1/auth/sessions", "list_sessions", "One's sessions.").signed_in().json(200, "SessionList"),
        of("delete", "/v1/auth/sessions/{session}", "end_session", "End one of one's sessions.").signed_in(),
        of("post", "/v1/auth/password", "change_password", "Change the password; all other sessions end.")
            .signed_in()
            .body("PasswordChange"),
        of("get", "/.well-known/jwks.json", "get_jwks", "The public keys of access tokens.").json(200, "KeySet"),
    ]
}

fn server() -> Vec<Operation> {
    let of = |method, path, id, summary| Operation::of(method, path, id, "server", summary);
    vec![
        of("get", "/v1/ids/{id}", "get_id", "What an id says.").open().json(200, "Id"),
        of("get", "/v1/stream", "get_stream", "What happens, as a WebSocket or as server-sent events; see /asyncapi.json.")
            .by_protocol()
            .with(&["watch", "last_event_id"])
            .text("text/event-stream"),
        of("get", "/asyncapi.json", "get_asyncapi", "What is said on the stream.").text("application/json"),
        of("get", "/livez", "get_livez", "Whether the process lives.").text("text/plain"),
        of("get", "/readyz", "get_readyz", "Whether it should be asked.").text("text/plain"),
        of("get", "/openapi.json", "get_openapi", "This document.").text("application/json"),
        of("get", "/docs", "get_docs", "A page to try the API.").text("text/html"),
        of("get", "/docs/{file}", "get_docs_file", "A file of that page.").text("*/*"),
        of("get", "/problems/{name}", "get_problem", "What a problem means.").text("text/html"),
        of("get", "/", "get_start", "The start page.").text("text/html"),
        of("get", "/start.css", "get_style", "The style of the pages.").text("text/css"),
    ]
}
