//! What an expression refers to: for the validator, and for the list of a machine's variable references.

use std::collections::BTreeSet;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};

/// The names that one expression takes from outside of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Variables that it does not bind itself: `$answer`, without the sign and without `states`.
    pub variables: BTreeSet<String>,
    /// Fields that it reads at its top level, where there is nothing to read them from.
    pub fields: BTreeSet<String>,
    /// Whether it refers to `$$`.
    pub root: bool,
    /// First steps below `$states` that it reads: `input`, `result`.
    pub states: BTreeSet<String>,
}

impl Names {
    pub(super) fn of(node: &AstNode) -> Self {
        let mut names = Self::default();
        walk(node, &mut Scope { bound: Vec::new(), context: false }, &mut names);
        names
    }
}

struct Scope {
    bound: Vec<String>,
    /// Whether a path gives this place a context item.
    context: bool,
}

impl Scope {
    /// Runs `inner` with a scope of its own, and whether it has a context item.
    fn inner(&mut self, context: bool, inner: impl FnOnce(&mut Self)) {
        let bound = self.bound.len();
        let outer = self.context;
        self.context |= context;
        inner(self);
        self.context = outer;
        self.bound.truncate(bound);
    }
}

fn walk(node: &AstNode, scope: &mut Scope, names: &mut Names) {
    stacker::maybe_grow(64 * 1024, 1024 * 1024, || walk_node(node, scope, names));
}

fn walk_all<'n>(
    nodes: impl IntoIterator<Item = &'n AstNode>,
    scope: &mut Scope,
    names: &mut Names,
) {
    for node in nodes {
        walk(node, scope, names);
    }
}

fn variable(name: &str, scope: &Scope, names: &mut Names) {
    if name == "$" {
        names.root = true;
    } else if !name.is_empty() && name != "states" && !scope.bound.iter().any(|bound| bound == name)
    {
        names.variables.insert(name.to_owned());
    }
}

fn walk_node(node: &AstNode, scope: &mut Scope, names: &mut Names) {
    match node {
        AstNode::Variable(name) => variable(name, scope, names),
        AstNode::ParentVariable(_) => names.root = true,
        AstNode::Name(name) => {
            if !scope.context {
                names.fields.insert(name.clone());
            }
        }
        AstNode::Path { steps } => walk_path(steps, scope, names),
        AstNode::Binary { op: BinaryOp::ColonEqual, lhs, rhs } => {
            walk(rhs, scope, names);
            if let AstNode::Variable(name) = lhs.as_ref() {
                scope.bound.push(name.clone());
            }
        }
        AstNode::Binary { lhs, rhs, .. } => walk_all([lhs.as_ref(), rhs.as_ref()], scope, names),
        AstNode::Unary { operand, .. } => walk(operand, scope, names),
        AstNode::Function { args, .. } => walk_all(args, scope, names),
        AstNode::Call { procedure, args } => {
            walk(procedure, scope, names);
            walk_all(args, scope, names);
        }
        AstNode::Lambda { params, body, .. } => scope.inner(false, |scope| {
            scope.bound.extend(params.iter().map(|name| name.trim_start_matches('$').to_owned()));
            walk(body, scope, names);
        }),
        AstNode::Array(items) | AstNode::ArrayGroup(items) => walk_all(items, scope, names),
        AstNode::Object(pairs) => {
            walk_all(pairs.iter().flat_map(|(key, value)| [key, value]), scope, names)
        }
        AstNode::ObjectTransform { input, pattern } => {
            walk(input, scope, names);
            scope.inner(true, |scope| {
                walk_all(pattern.iter().flat_map(|(key, value)| [key, value]), scope, names);
            });
        }
        AstNode::Block(nodes) => scope.inner(false, |scope| walk_all(nodes, scope, names)),
        AstNode::Conditional { condition, then_branch, else_branch } => {
            walk_all(
                [condition, then_branch].into_iter().chain(else_branch).map(AsRef::as_ref),
                scope,
                names,
            );
        }
        AstNode::FunctionApplication(inner) => walk(inner, scope, names),
        AstNode::Sort { input, terms } => {
            walk(input, scope, names);
            scope.inner(true, |scope| walk_all(terms.iter().map(|(term, _)| term), scope, names));
        }
        AstNode::Transform { location, update, delete } => scope.inner(true, |scope| {
            walk_all([location, update].into_iter().chain(delete).map(AsRef::as_ref), scope, names);
        }),
        AstNode::String(_)
        | AstNode::Number(_)
        | AstNode::Boolean(_)
        | AstNode::Null
        | AstNode::Undefined
        | AstNode::Placeholder
        | AstNode::Regex { .. }
        | AstNode::Wildcard
        | AstNode::Descendant
        | AstNode::Parent(_) => {}
    }
}

fn walk_path(steps: &[PathStep], scope: &mut Scope, names: &mut Names) {
    if let [first, second, ..] = steps
        && matches!(&first.node, AstNode::Variable(name) if name == "states")
        && let AstNode::Name(name) = &second.node
    {
        names.states.insert(name.clone());
    }
    scope.inner(false, |scope| {
        for (at, step) in steps.iter().enumerate() {
            scope.context |= at > 0;
            walk(&step.node, scope, names);
            scope.bound.extend(step.focus.iter().chain(&step.index_var).cloned());
            let outer = std::mem::replace(&mut scope.context, true);
            for stage in &step.stages {
                match stage {
                    Stage::Filter(condition) => walk(condition, scope, names),
                    Stage::Index(name) => scope.bound.push(name.clone()),
                    Stage::KeepArray => {}
                }
            }
            scope.context = outer;
        }
    });
}
