//! The provider: each question of Terraform's goes to whom it concerns.

use std::io;
use std::sync::{Arc, RwLock};

use tokio::sync::watch;

use crate::blocks::{self, ARTIFACTS, BUDGET, INVENTORY, MONITORING, SERVICE, VERIFICATION};
use crate::finding::general;
use crate::provider::{Change, Finding, Planned, Provider, Stated};
use crate::queue::Queue;
use crate::schema::ProviderSchema;
use crate::site::Site;
use crate::translate::{self, Attributes, ProviderBlock, is_known};
use crate::value::Value;
use crate::worker::{Panicked, Worker};
use crate::{artifacts, data, monitoring, service};

/// pgisle as Terraform sees it.
pub(crate) struct Pgisle {
    schema: ProviderSchema,
    configured: RwLock<Configured>,
    worker: Worker,
    stopping: watch::Sender<bool>,
}

/// What is known of the provider's block.
#[derive(Clone, Default)]
struct Configured {
    block: Option<Arc<ProviderBlock>>,
    /// There is one as soon as the whole block is known.
    site: Option<Arc<Site>>,
    queue: Option<Arc<Queue>>,
}

impl Pgisle {
    /// One that has not been configured.
    pub(crate) fn new() -> io::Result<Self> {
        let (stopping, _) = watch::channel(false);
        Ok(Self { schema: blocks::schema(), configured: RwLock::default(), worker: Worker::start()?, stopping })
    }

    fn configured(&self) -> Configured {
        self.configured.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// An object of a resource's in which nothing is said.
    fn empty(&self, type_name: &str) -> Attributes {
        let block = self.schema.resources.get(type_name);
        let attributes = block.into_iter().flat_map(|block| block.attributes.iter().map(|attribute| &attribute.name));
        let blocks = block.into_iter().flat_map(|block| block.blocks.iter().map(|nested| &nested.name));
        attributes.chain(blocks).map(|name| (name.clone(), Value::Null)).collect()
    }
}

/// That nothing can be done without the whole of the provider's block.
fn not_configured() -> Vec<Finding> {
    let detail =
        "A value in the provider's block is known only after another resource is applied. Apply that one first, with -target.";
    vec![Finding::general("the provider is not configured yet", detail)]
}

/// That the work broke off.
fn told(Panicked: Panicked) -> Vec<Finding> {
    let detail = "This is a fault of pgisle's; please report it. What was being done may be half done: running the same again goes on \
                  where it stopped.";
    vec![Finding::general("PI0903: this is a bug in pgisle", detail)]
}

impl Provider for Pgisle {
    fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    async fn validate_provider(&self, config: Value) -> Vec<Finding> {
        translate::provider(&config).err().unwrap_or_default()
    }

    async fn configure(&self, config: Value, _terraform_version: String) -> Vec<Finding> {
        let block = match translate::provider(&config) {
            Ok(block) => block,
            Err(findings) => return findings,
        };
        let mut configured = Configured { block: Some(Arc::new(block.clone())), ..Configured::default() };
        let mut findings = Vec::new();
        if !block.has_unknown && is_known(&config) {
            match Site::new(block, &config) {
                Ok((site, warnings)) => {
                    let site = Arc::new(site);
                    configured.queue = Some(Arc::new(Queue::new(Arc::clone(&site), self.stopping.subscribe())));
                    configured.site = Some(site);
                    findings = general(&warnings);
                }
                Err(diagnostics) => return general(&diagnostics),
            }
        }
        *self.configured.write().unwrap_or_else(std::sync::PoisonError::into_inner) = configured;
        findings
    }

    async fn validate_resource(&self, type_name: String, config: Value) -> Vec<Finding> {
        let configured = self.configured();
        match config {
            Value::Map(config) if type_name == SERVICE => service::validate(configured.block.as_deref(), &config),
            _ => Vec::new(),
        }
    }

    async fn validate_data_source(&self, _type_name: String, _config: Value) -> Vec<Finding> {
        // Definitions are checked where they are read; there is nothing else.
        Vec::new()
    }

    async fn read(&self, type_name: String, current: Value, private: Vec<u8>) -> Stated {
        let (Some(site), Value::Map(values)) = (self.configured().site, current.clone()) else {
            // While the server's address is not known, what was is taken for what is.
            return Stated { state: current, private, findings: Vec::new() };
        };
        let kept = private.clone();
        let read = self.worker.run(move || async move {
            match type_name.as_str() {
                SERVICE => service::read(&site, values, private).await,
                MONITORING => monitoring::read(&site, values, private).await,
                _ => artifacts::read(&site, values, private).await,
            }
        });
        read.await.unwrap_or_else(|panicked| Stated { state: current, private: kept, findings: told(panicked) })
    }

    async fn plan(&self, change: Change) -> Planned {
        let Configured { block, site, queue: _ } = self.configured();
        let (proposed, private) = (change.planned.clone(), change.private.clone());
        let planned = self.worker.run(move || async move {
            match change.type_name.as_str() {
                SERVICE => service::plan(site.as_deref(), block.as_deref(), change).await,
                MONITORING => monitoring::plan(block.as_deref(), change),
                _ => artifacts::plan(site.as_deref(), block.as_deref(), change).await,
            }
        });
        let failed = |panicked| Planned { state: proposed, requires_replace: Vec::new(), private, findings: told(panicked) };
        planned.await.unwrap_or_else(failed)
    }

    async fn apply(&self, change: Change) -> Stated {
        let Configured { site: Some(site), queue: Some(queue), .. } = self.configured() else {
            return Stated { state: change.prior, private: change.private, findings: not_configured() };
        };
        let (prior, private) = (change.prior.clone(), change.private.clone());
        let applied = self.worker.run(move || async move {
            match change.type_name.as_str() {
                SERVICE => service::apply(&site, &queue, change).await,
                MONITORING => monitoring::apply(&site, &queue, change).await,
                _ => artifacts::apply(&site, change).await,
            }
        });
        applied.await.unwrap_or_else(|panicked| Stated { state: prior, private, findings: told(panicked) })
    }

    async fn import(&self, type_name: String, id: String) -> Stated {
        let empty = self.empty(&type_name);
        let refused = |findings| Stated { state: Value::Null, private: Vec::new(), findings };
        let Some(site) = self.configured().site else { return refused(not_configured()) };
        let imported = self.worker.run(move || async move {
            match type_name.as_str() {
                SERVICE => service::import(&site, &id, empty).await,
                MONITORING => monitoring::import(&site, &id, empty),
                ARTIFACTS => refused(vec![Finding::general(
                    "pgisle_artifacts cannot be imported",
                    "Files that are there as pgisle wrote them are taken up by an apply, and nothing is written again.",
                )]),
                _ => refused(vec![Finding::general(format!("there is no resource {type_name}"), "")]),
            }
        });
        imported.await.unwrap_or_else(|panicked| refused(told(panicked)))
    }

    async fn read_data_source(&self, type_name: String, config: Value) -> (Value, Vec<Finding>) {
        let (Some(site), Value::Map(values)) = (self.configured().site, config.clone()) else {
            return (config, not_configured());
        };
        let answer = self.worker.run(move || async move {
            match type_name.as_str() {
                BUDGET => data::budget(&site, values).await,
                VERIFICATION => data::verification(&site, values).await,
                INVENTORY => data::inventory(&site, values).await,
                _ => Err(vec![Finding::general(format!("there is no data source {type_name}"), "")]),
            }
        });
        match answer.await {
            Ok(Ok((values, findings))) => (Value::Map(values), findings),
            Ok(Err(findings)) => (config, findings),
            Err(panicked) => (config, told(panicked)),
        }
    }

    fn stop(&self) {
        self.stopping.send_replace(true);
    }
}
