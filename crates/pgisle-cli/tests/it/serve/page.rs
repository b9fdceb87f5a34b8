//! The page in a real browser.

use pgisle_testkit::skip;
use serde_json::json;

use super::browser::Browser;
use super::{Serving, islands};

const STATE: &str = "document.getElementById('state').textContent";

#[tokio::test]
async fn the_page_shows_the_islands_by_day_and_night_by_keyboard_and_on_a_phone() {
    let Some(mut browser) = Browser::open().await else { skip!("chromium is not installed") };
    let (cluster, place) = islands().await;
    let serving = Serving::start(&place, &[], &[]).await;
    browser.window(1280, 900).await;
    browser.go_to(&format!("http://{}/", serving.address)).await;
    browser.until("document.querySelectorAll('#rows tr').length === 2").await;
    let cells =
        browser.value("[...document.querySelectorAll('#rows tr:first-child > *')].map((cell) => cell.innerText.trim())").await;
    assert_eq!((&cells[0], &cells[1], &cells[2]), (&json!("chat"), &json!("ready"), &json!("0 of 100")), "{cells}");
    browser.until("document.querySelectorAll('#server-charts polyline').length > 0").await;
    assert!(
        browser.value("document.getElementById('alerts').innerText").await.as_str().unwrap().contains("it has no proved backup")
    );

    // By keyboard alone: to the first service, into it, and out again.
    browser.value("document.querySelector('.skip').focus()").await;
    browser.press("Enter").await;
    browser.until("document.activeElement.id === 'services'").await;
    browser.press("Tab").await;
    browser.until("document.activeElement.textContent === 'chat'").await;
    browser.press("Enter").await;
    browser.until("!document.getElementById('detail').hidden && document.activeElement.id === 'detail-title'").await;
    browser.until("document.querySelectorAll('#detail-charts figure').length === 5").await;
    assert!(browser.value("location.hash").await.as_str().unwrap().contains("chat"));
    browser.press("Escape").await;
    browser.until("document.getElementById('detail').hidden").await;

    // By night, unless somebody has chosen the day.
    let back = "getComputedStyle(document.body).backgroundColor";
    browser.prefers("light").await;
    let light = browser.value(back).await;
    browser.prefers("dark").await;
    assert_ne!(browser.value(back).await, light);
    browser.value("document.getElementById('theme').click()").await;
    assert_eq!(browser.value("document.documentElement.dataset.theme").await, "light");
    assert_eq!(browser.value(back).await, light);

    // On a phone nothing has to be pushed aside.
    browser.window(360, 740).await;
    browser.until("document.documentElement.scrollWidth <= 360").await;
    browser.window(1280, 900).await;

    // Everything comes from here, and nothing is complained of.
    let sources = browser.value("performance.getEntriesByType('resource').map((one) => new URL(one.name).host)").await;
    assert!(sources.as_array().unwrap().iter().all(|host| *host == serving.address.as_str()), "{sources}");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);

    // The server goes: what is seen is old, and says so.
    cluster.kill_server();
    browser.until(&format!("{STATE}.includes('PostgreSQL cannot be seen; what you see is')")).await;
    assert_eq!(browser.value("document.querySelector('table').classList.contains('stale')").await, true);
    cluster.restart().await;
    browser.until(&format!("!{STATE}.includes('cannot be seen')")).await;

    // And then pgisle itself.
    serving.stop().await;
    browser.until(&format!("{STATE}.includes('does not answer')")).await;
}
