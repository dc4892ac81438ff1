//! Rewrites an expression such that nothing in it can outgrow the budget.
//!
//! Calls of [`functions`](super::functions) are put around what makes a value larger: the items of an array
//! or object that is constructed, the texts that are joined, the results of functions that apply a function,
//! and the arguments of those built-in functions whose result can be larger than what they are given. Their
//! names begin with a character that no user can write.

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage, StepId};

/// Levels that an expression may nest: AWS refuses more than 100 when it evaluates them.
const DEPTH_MAX: usize = 400;

/// Charges a whole value and gives it back.
pub(super) const CHARGE: &str = "\u{1}charge";
/// Charges the number of a value's items and gives it back.
pub(super) const CHARGE_ITEMS: &str = "\u{1}items";
/// `a..b`.
pub(super) const RANGE: &str = "\u{1}range";
/// Refuses a `$replace` that could make too long a text.
pub(super) const CHECK_REPLACE: &str = "\u{1}replace";
/// Refuses a text that is too long to be put in many times.
pub(super) const CHECK_SHORT: &str = "\u{1}short";
/// Refuses a number that is too large for what it asks for.
pub(super) const CHECK_COUNT: &str = "\u{1}count";
/// Charges a text for the array that is made of it.
pub(super) const CHARGE_SPLIT: &str = "\u{1}split";
/// Replaces a built-in function that is used as a value by its fenced form.
pub(super) const FENCED: &str = "\u{1}fenced";
/// The fenced forms of `$join`, `$distinct` and `$pad`.
pub(super) const JOIN: &str = "\u{1}join";
pub(super) const DISTINCT: &str = "\u{1}distinct";
pub(super) const PAD: &str = "\u{1}pad";

/// How deep brackets nest in the text; quotes and comments are counted as well, so it is an upper bound.
pub(super) fn nesting(text: &str) -> usize {
    let mut open = 0_usize;
    let mut most = 0;
    for c in text.bytes() {
        match c {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// The expression with the fence in it; none if it nests too deep.
pub(super) fn fence(node: AstNode) -> Option<AstNode> {
    Fence { depth: 0 }.node(node)
}

struct Fence {
    depth: usize,
}

fn call(name: &str, args: Vec<AstNode>) -> AstNode {
    AstNode::Function { name: name.to_owned(), args, is_builtin: true }
}

fn charge(node: AstNode) -> AstNode {
    match node {
        literal @ (AstNode::String(_)
        | AstNode::Number(_)
        | AstNode::Boolean(_)
        | AstNode::Null
        | AstNode::Undefined
        | AstNode::Placeholder) => literal,
        other => call(CHARGE, vec![other]),
    }
}

impl Fence {
    fn node(&mut self, node: AstNode) -> Option<AstNode> {
        if self.depth >= DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let fenced = stacker::maybe_grow(64 * 1024, 1024 * 1024, || self.inner(node));
        self.depth -= 1;
        fenced
    }

    #[expect(clippy::boxed_local, reason = "a node's children are boxes")]
    fn boxed(&mut self, node: Box<AstNode>) -> Option<Box<AstNode>> {
        self.node(*node).map(Box::new)
    }

    fn all(&mut self, nodes: Vec<AstNode>) -> Option<Vec<AstNode>> {
        nodes.into_iter().map(|node| self.node(node)).collect()
    }

    #[expect(
        clippy::too_many_lines,
        reason = "a flat match with one short arm for each kind of node"
    )]
    fn inner(&mut self, node: AstNode) -> Option<AstNode> {
        Some(match node {
            AstNode::Array(items) => AstNode::Array(self.items(items)?),
            AstNode::ArrayGroup(items) => AstNode::ArrayGroup(self.items(items)?),
            AstNode::Object(pairs) => AstNode::Object(self.pairs(pairs)?),
            AstNode::ObjectTransform { input, pattern } => AstNode::ObjectTransform {
                input: self.boxed(input)?,
                pattern: self.pairs(pattern)?,
            },
            AstNode::Binary { op: BinaryOp::Range, lhs, rhs } => {
                call(RANGE, vec![self.node(*lhs)?, self.node(*rhs)?])
            }
            AstNode::Binary { op: op @ BinaryOp::Concatenate, lhs, rhs } => AstNode::Binary {
                op,
                lhs: Box::new(charge(self.node(*lhs)?)),
                rhs: Box::new(charge(self.node(*rhs)?)),
            },
            AstNode::Binary { op: BinaryOp::ChainPipe, lhs, rhs } => self.chain(*lhs, *rhs)?,
            AstNode::Binary { op: op @ BinaryOp::ColonEqual, lhs, rhs } => {
                AstNode::Binary { op, lhs, rhs: self.boxed(rhs)? }
            }
            AstNode::Binary { op, lhs, rhs } => {
                AstNode::Binary { op, lhs: self.boxed(lhs)?, rhs: self.boxed(rhs)? }
            }
            AstNode::Unary { op, operand } => AstNode::Unary { op, operand: self.boxed(operand)? },
            AstNode::Function { name, args, is_builtin } => {
                let args = self.all(args)?;
                if is_builtin {
                    builtin(name, args)
                } else {
                    AstNode::Function { name, args, is_builtin }
                }
            }
            AstNode::Call { procedure, args } => {
                AstNode::Call { procedure: self.boxed(procedure)?, args: self.all(args)? }
            }
            AstNode::Lambda { params, body, signature, thunk } => {
                AstNode::Lambda { params, body: self.boxed(body)?, signature, thunk }
            }
            AstNode::Block(nodes) => AstNode::Block(self.all(nodes)?),
            AstNode::Conditional { condition, then_branch, else_branch } => AstNode::Conditional {
                condition: self.boxed(condition)?,
                then_branch: self.boxed(then_branch)?,
                else_branch: match else_branch {
                    Some(node) => Some(self.boxed(node)?),
                    None => None,
                },
            },
            AstNode::FunctionApplication(inner) => AstNode::FunctionApplication(self.boxed(inner)?),
            AstNode::Sort { input, terms } => AstNode::Sort {
                input: self.boxed(input)?,
                terms: terms
                    .into_iter()
                    .map(|(term, up)| Some((self.node(term)?, up)))
                    .collect::<Option<_>>()?,
            },
            AstNode::Transform { location, update, delete } => AstNode::Transform {
                location: self.boxed(location)?,
                update: self.boxed(update)?,
                delete: match delete {
                    Some(node) => Some(self.boxed(node)?),
                    None => None,
                },
            },
            AstNode::Path { steps } => {
                let steps = steps.into_iter().enumerate();
                AstNode::Path {
                    steps: steps
                        .map(|(at, step)| self.step(step, at == 0))
                        .collect::<Option<_>>()?,
                }
            }
            AstNode::Variable(name) if matches!(name.as_str(), "pad" | "join" | "distinct") => {
                call(FENCED, vec![AstNode::Variable(name)])
            }
            leaf @ (AstNode::String(_)
            | AstNode::Name(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Undefined
            | AstNode::Placeholder
            | AstNode::Regex { .. }
            | AstNode::Variable(_)
            | AstNode::ParentVariable(_)
            | AstNode::Wildcard
            | AstNode::Descendant
            | AstNode::Parent(_)) => leaf,
        })
    }

    /// Items of a constructed array. One that is an array constructor itself stays such a node: its items
    /// are charged, and the evaluator looks at the node to tell whether it is flattened.
    fn items(&mut self, items: Vec<AstNode>) -> Option<Vec<AstNode>> {
        let fenced = items.into_iter().map(|item| {
            let charged = matches!(
                item,
                AstNode::Array(_)
                    | AstNode::ArrayGroup(_)
                    | AstNode::Binary { op: BinaryOp::Range, .. }
            );
            let item = self.node(item)?;
            Some(if charged { item } else { charge(item) })
        });
        fenced.collect()
    }

    fn pairs(&mut self, pairs: Vec<(AstNode, AstNode)>) -> Option<Vec<(AstNode, AstNode)>> {
        pairs
            .into_iter()
            .map(|(key, value)| Some((self.node(key)?, charge(self.node(value)?))))
            .collect()
    }

    /// A step that does not go down from the item it is at, but gives another value for each: its size times
    /// the number of items is what the path makes.
    fn step(&mut self, step: PathStep, first: bool) -> Option<PathStep> {
        let stages = step.stages.into_iter().map(|stage| {
            Some(match stage {
                Stage::Filter(condition) => Stage::Filter(self.boxed(condition)?),
                Stage::KeepArray => Stage::KeepArray,
                Stage::Index(name) => Stage::Index(name),
            })
        });
        let stages = stages.collect::<Option<_>>()?;
        let multiplies = !first
            && match &step.node {
                AstNode::Variable(name) => !name.is_empty(),
                AstNode::ParentVariable(_) | AstNode::Function { .. } => true,
                block @ (AstNode::Block(_) | AstNode::FunctionApplication(_)) => !goes_down(block),
                // `a@$x.b@$y` joins every a with every b.
                AstNode::Name(_) => step.focus.is_some(),
                _ => false,
            };
        let node = match self.node(step.node)? {
            AstNode::FunctionApplication(inner) if multiplies => {
                AstNode::FunctionApplication(Box::new(call(CHARGE_ITEMS, vec![*inner])))
            }
            node if multiplies => call(CHARGE_ITEMS, vec![node]),
            node => node,
        };
        Some(PathStep { node, stages, id: StepId::default(), ..step })
    }

    /// `lhs ~> rhs`: a call of a built-in function on the right gets the left as its first argument.
    fn chain(&mut self, lhs: AstNode, mut rhs: AstNode) -> Option<AstNode> {
        let called = match &mut rhs {
            AstNode::Path { steps } => steps.first_mut().map(|step| &mut step.node),
            node => Some(node),
        };
        if let Some(AstNode::Function { name, args, is_builtin: true }) = called
            && is_wrapped(name)
            && !args.iter().any(|arg| matches!(arg, AstNode::Placeholder))
        {
            args.insert(0, lhs);
            return self.node(rhs);
        }
        let lhs = Box::new(self.node(lhs)?);
        Some(AstNode::Binary { op: BinaryOp::ChainPipe, lhs, rhs: Box::new(self.node(rhs)?) })
    }
}

/// Whether an expression only reads below the item it is at.
fn goes_down(node: &AstNode) -> bool {
    match node {
        AstNode::Name(_)
        | AstNode::String(_)
        | AstNode::Number(_)
        | AstNode::Boolean(_)
        | AstNode::Null
        | AstNode::Undefined
        | AstNode::Wildcard
        | AstNode::Descendant
        | AstNode::Parent(_) => true,
        AstNode::Variable(name) => name.is_empty(),
        AstNode::Path { steps } => {
            steps.iter().all(|step| step.focus.is_none() && goes_down(&step.node))
        }
        AstNode::FunctionApplication(inner) => goes_down(inner),
        AstNode::Block(nodes) => nodes.iter().all(goes_down),
        AstNode::Sort { input, terms } => {
            goes_down(input) && terms.iter().all(|(term, _)| goes_down(term))
        }
        _ => false,
    }
}

/// Whether a call of that function does not stay a call of that function with those arguments.
fn is_wrapped(name: &str) -> bool {
    applies(name)
        || matches!(
            name,
            "pad"
                | "join"
                | "distinct"
                | "replace"
                | "split"
                | "match"
                | "formatInteger"
                | "string"
        )
}

/// Whether it applies a function to items.
fn applies(name: &str) -> bool {
    matches!(name, "map" | "filter" | "reduce" | "sift" | "each" | "single" | "sort")
}

/// A call of a built-in function, or of a variable of the user's that may have its name.
fn builtin(name: String, mut args: Vec<AstNode>) -> AstNode {
    let partial = args.iter().any(|arg| matches!(arg, AstNode::Placeholder));
    let wrap = |args: &mut Vec<AstNode>, at: usize, with: &str| {
        if let Some(arg) = args.get_mut(at).filter(|arg| !matches!(arg, AstNode::Placeholder)) {
            *arg = call(with, vec![std::mem::replace(arg, AstNode::Undefined)]);
        }
    };
    match name.as_str() {
        applying if applies(applying) && !partial => {
            return call(CHARGE, vec![AstNode::Function { name, args, is_builtin: true }]);
        }
        "replace" => return replace(args, partial),
        "join" if !partial => return call(JOIN, args),
        "distinct" if !partial => return call(DISTINCT, args),
        "pad" => {
            // Without a text in the first place the context is padded, and the width stands there.
            wrap(&mut args, 0, CHECK_COUNT);
            wrap(&mut args, 1, CHECK_COUNT);
        }
        "formatInteger" => wrap(&mut args, 0, CHECK_COUNT),
        "split" | "match" if args.len() > 1 => wrap(&mut args, 0, CHARGE_SPLIT),
        "string" | "append" | "zip" | "merge" | "spread" => {
            args = args.into_iter().map(charge).collect();
        }
        _ => {}
    }
    AstNode::Function { name, args, is_builtin: true }
}

/// `$replace(s, pattern, by, limit)`, checked by what all of them together could make. Each argument is
/// evaluated once, into a variable that no user can name.
fn replace(mut args: Vec<AstNode>, partial: bool) -> AstNode {
    if partial || args.len() < 2 {
        if let Some(by) = args.get_mut(2).filter(|by| !matches!(by, AstNode::Placeholder)) {
            *by = call(CHECK_SHORT, vec![std::mem::replace(by, AstNode::Undefined)]);
        }
        return AstNode::Function { name: "replace".to_owned(), args, is_builtin: true };
    }
    if args.len() == 2 {
        args.insert(0, AstNode::Variable(String::new()));
    }
    let names: Vec<AstNode> =
        (0..args.len()).map(|at| AstNode::Variable(format!("\u{1}{at}"))).collect();
    let mut block: Vec<AstNode> = names
        .iter()
        .zip(args)
        .map(|(name, arg)| AstNode::Binary {
            op: BinaryOp::ColonEqual,
            lhs: Box::new(name.clone()),
            rhs: Box::new(arg),
        })
        .collect();
    block.push(call(CHECK_REPLACE, names.clone()));
    block.push(AstNode::Function { name: "replace".to_owned(), args: names, is_builtin: true });
    AstNode::Block(block)
}
