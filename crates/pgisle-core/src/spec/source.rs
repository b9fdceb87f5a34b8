//! Where a spec comes from: layers of text, read by the caller and stacked here.
//!
//! The caller does the reading and this module holds the rules, so that every front end layers alike:
//!
//! 1. For each file of the folder, [`LayerKind::of_file_name`] says whether it belongs, and as what: [`Sources::push`].
//! 2. Every `-var-file` is pushed as [`LayerKind::VarFile`], every `-var` with [`Sources::push_command_line`], and the
//!    whole environment is offered to [`Sources::push_environment`], which takes what concerns a spec.
//! 3. Now [`Sources::environment_files`] knows which environment it is and names the files that may exist for it: those
//!    that do are pushed as [`LayerKind::EnvironmentFile`].
//! 4. [`load`](super::load()) stacks them. The order of pushing matters only within one kind: the later wins.

use std::fmt;

use zeroize::Zeroizing;

use super::layer;
use super::model::Environment;

/// The file that a spec lives in.
pub const SPEC_FILE: &str = "pgisle.hcl";

/// What the name of an environment variable for a setting begins with.
pub(super) const VARIABLE_PREFIX: &str = "PGISLE_VAR_";

/// Terraform's own prefix, taken as well; ours wins.
pub(super) const TERRAFORM_PREFIX: &str = "TF_VAR_";

/// What kind of source a layer is, in order of precedence: the later wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerKind {
    /// `pgisle.hcl`: settings and the services. The only kind that may hold blocks.
    SpecFile,
    /// `environments/<environment>.tfvars`.
    EnvironmentFile,
    /// `terraform.tfvars` and `*.auto.tfvars`, which Terraform loads by itself.
    AutoFile,
    /// A file given with `-var-file`.
    VarFile,
    /// `TF_VAR_name`: names that are no setting are another tool's and are ignored.
    TerraformVariable,
    /// `PGISLE_VAR_name`.
    Variable,
    /// `-var name=value`.
    CommandLine,
}

impl LayerKind {
    /// What a file of the spec's folder is; none when it has no part in a spec.
    #[must_use]
    pub fn of_file_name(name: &str) -> Option<Self> {
        match name {
            SPEC_FILE => Some(Self::SpecFile),
            "terraform.tfvars" => Some(Self::AutoFile),
            // Terraform reads its settings as JSON too. They are refused with a hint rather than passed over in silence.
            "terraform.tfvars.json" => Some(Self::AutoFile),
            _ => [".auto.tfvars", ".auto.tfvars.json"]
                .iter()
                .any(|ending| name.len() > ending.len() && name.ends_with(ending))
                .then_some(Self::AutoFile),
        }
    }

    /// True when the text is a file of HCL, false when it is the value of one variable.
    #[must_use]
    pub fn is_file(self) -> bool {
        matches!(self, Self::SpecFile | Self::EnvironmentFile | Self::AutoFile | Self::VarFile)
    }
}

/// One source of settings.
#[derive(Clone, PartialEq, Eq)]
pub struct Layer {
    /// What kind of source it is.
    pub kind: LayerKind,
    /// What the user calls it: the file's path, the environment variable's name, `-var`.
    pub name: String,
    /// The bytes as they were read. They may hold a password, so they are wiped and never shown.
    pub(super) text: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, text } = self;
        write!(f, "Layer({kind:?} {name:?}, {} bytes)", text.len())
    }
}

/// All layers that a spec is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    layers: Vec<Layer>,
}

impl Sources {
    /// No layer but the built-in defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer. Within one kind the later wins, so files are pushed in the order of their names, and `-var-file`s as
    /// they were given.
    pub fn push(&mut self, kind: LayerKind, name: impl Into<String>, text: impl Into<Vec<u8>>) {
        self.layers.push(Layer { kind, name: name.into(), text: Zeroizing::new(text.into()) });
    }

    /// Adds what stood behind `-var`: `name=value`.
    pub fn push_command_line(&mut self, assignment: impl Into<Vec<u8>>) {
        self.push(LayerKind::CommandLine, "-var", assignment);
    }

    /// Adds an environment variable when it concerns a spec, and says whether it does.
    pub fn push_environment(&mut self, name: &str, value: impl Into<Vec<u8>>) -> bool {
        let kind = if name.starts_with(VARIABLE_PREFIX) {
            LayerKind::Variable
        } else if name.starts_with(TERRAFORM_PREFIX) {
            LayerKind::TerraformVariable
        } else {
            return false;
        };
        self.push(kind, name, value);
        true
    }

    /// The environment that the layers so far agree on; none when the winning value is not an environment's name, which
    /// [`load`](super::load()) reports.
    #[must_use]
    pub fn environment(&self) -> Option<Environment> {
        layer::environment(&self.stacked())
    }

    /// The files that may exist for the environment, lowest precedence first: the caller reads those that do. None when
    /// the environment is not known.
    #[must_use]
    pub fn environment_files(&self) -> Vec<String> {
        self.environment().map_or_else(Vec::new, |environment| {
            vec![format!("environments/{environment}.tfvars"), format!("environments/{environment}/terraform.tfvars")]
        })
    }

    /// The layers, lowest precedence first.
    pub(super) fn stacked(&self) -> Vec<&Layer> {
        let mut layers: Vec<&Layer> = self.layers.iter().collect();
        // Stable: within one kind the order of pushing holds. The environment has no order, so there it is by name.
        layers.sort_by(|a, b| {
            let by_name = matches!(a.kind, LayerKind::Variable | LayerKind::TerraformVariable);
            a.kind.cmp(&b.kind).then_with(|| if by_name { a.name.cmp(&b.name) } else { std::cmp::Ordering::Equal })
        });
        layers
    }
}
