//! How deep the tree of a statement can be, told by its words and signs alone: the parser,
//! and whoever walks the tree or drops it, goes down its levels on the stack.

use sqlparser::tokenizer::Token;

use super::{Refused, refused};

/// The most words and signs on the way from a statement's begin to one of them, without what
/// stands in brackets that are closed before it, or before a comma beside it. Each level of the
/// tree takes two at least.
const MOST: usize = 1_000;

/// The most brackets that are open at once. The parser tries some forms one after the other; for
/// a form of which it forgets that it has failed, the time doubles with each bracket around it.
const BRACKETS: usize = 16;

/// Words that make a tree of what stands beside them, lists with commas included.
const OF_SETS: [&str; 4] = ["except", "intersect", "minus", "union"];

/// Claims that a statement is not too deep.
pub(super) fn check(tokens: &[Token]) -> Result<(), Refused> {
    // Of each open bracket, those on the way and those that no comma ends.
    let mut open = vec![(0, 0)];
    let mut way = 0;
    for token in tokens {
        let level = open.len();
        let Some((here, kept)) = open.last_mut() else { break };
        match token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::LParen if level > BRACKETS => {
                return Err(refused(&format!("more than {BRACKETS} open brackets")));
            }
            Token::LParen => open.push((0, 0)),
            Token::RParen if level > 1 => {
                way -= *here + *kept;
                open.pop();
            }
            Token::Comma => {
                way -= *here;
                *here = 0;
            }
            Token::Word(word) if OF_SETS.iter().any(|of_sets| word.value.eq_ignore_ascii_case(of_sets)) => {
                *kept += 1;
                way += 1;
            }
            _ => {
                *here += 1;
                way += 1;
            }
        }
        if way + open.len() > MOST {
            return Err(refused(&format!("more than {MOST} words and signs in one chain")));
        }
    }
    Ok(())
}
