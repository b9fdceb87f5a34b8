//! The routes and their answers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pgisle_core::watch::{Range, metrics};
use serde::Deserialize;
use serde_json::json;

use super::Seen;
use super::access::Verdict;

/// What every answer carries: nothing of it is kept, framed, or fed by others.
const HEADERS: &[(HeaderName, &str)] = &[
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// The page's files, which are part of the program.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
    ("/chart.js", "text/javascript; charset=utf-8", include_str!("page/chart.js")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

/// What Prometheus' text format calls itself.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn routes(seen: Arc<Seen>) -> Router {
    let mut router = Router::new();
    for (path, kind, text) in FILES {
        router = router.route(path, get(move || async move { ([(header::CONTENT_TYPE, *kind)], *text) }));
    }
    router
        .route("/metrics", get(exposition))
        .route("/healthz", get(health))
        .route("/api/v1/board", get(whole_board))
        .route("/api/v1/history", get(history))
        .fallback(async || failure(StatusCode::NOT_FOUND, "there is no such page; / has the page, /metrics the metrics"))
        .method_not_allowed_fallback(async || failure(StatusCode::METHOD_NOT_ALLOWED, "everything here is read-only"))
        .layer(middleware::from_fn_with_state(Arc::clone(&seen), guarded))
        .with_state(seen)
}

/// Lets in who may come in, and puts the headers on whatever is answered.
async fn guarded(State(seen): State<Arc<Seen>>, request: Request, next: Next) -> Response {
    // A probe of an orchestrator knows no token, and learns nothing but whether it is well.
    let is_probe = request.uri().path() == "/healthz";
    let mut response = match seen.access.judge(request.headers()) {
        _ if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            failure(StatusCode::METHOD_NOT_ALLOWED, "everything here is read-only")
        }
        Verdict::Allowed => next.run(request).await,
        Verdict::Unknown if is_probe => next.run(request).await,
        Verdict::Unknown => {
            let asks = [(header::WWW_AUTHENTICATE, "Basic realm=\"pgisle: any user, the token as password\", charset=\"UTF-8\"")];
            (asks, failure(StatusCode::UNAUTHORIZED, "the token is missing or wrong")).into_response()
        }
        Verdict::Elsewhere => failure(StatusCode::FORBIDDEN, "this page is for this machine alone"),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn failure(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "error": reason }))).into_response()
}

fn nothing_yet() -> Response {
    failure(StatusCode::SERVICE_UNAVAILABLE, "nothing has been looked at yet")
}

async fn exposition(State(seen): State<Arc<Seen>>) -> Response {
    let Some(board) = seen.board() else { return nothing_yet() };
    ([(header::CONTENT_TYPE, EXPOSITION)], metrics(&board)).into_response()
}

async fn health(State(seen): State<Arc<Seen>>) -> Response {
    let is_well = seen.board().is_some_and(|board| board.freshness.get("server").is_some_and(|server| server.is_fresh));
    let (status, word) =
        if is_well { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "the server cannot be seen") };
    (status, Json(json!({ "status": word }))).into_response()
}

async fn whole_board(State(seen): State<Arc<Seen>>) -> Response {
    let Some(board) = seen.board() else { return nothing_yet() };
    Json(json!({ "format": 1, "board": board })).into_response()
}

#[derive(Deserialize)]
struct Wanted {
    range: Option<String>,
}

async fn history(State(seen): State<Arc<Seen>>, Query(wanted): Query<Wanted>) -> Response {
    let word = wanted.range.as_deref().unwrap_or("1h");
    let Some(range) = Range::from_word(word) else {
        return failure(StatusCode::BAD_REQUEST, "range is 1h, 24h or 7d");
    };
    let document = seen.history(|history| {
        let one = |key| json!({ "points": history.points(key, range), "service": key.service, "series": key.series });
        json!({ "format": 1, "range": word, "series": history.keys().map(one).collect::<Vec<_>>() })
    });
    let text = document.to_string();
    ([(header::CONTENT_TYPE, "application/json")], Body::from(text)).into_response()
}
