//! A default or a bound in an attribute.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::quote;
use syn::parse::ParseStream;
use syn::{Error, Expr, ExprField, ExprLit, ExprPath, Lit, LitStr, Member, Token, Type};

/// A default or a bound.
pub(crate) enum Value {
    /// A text that is parsed as the type of the field.
    Text(LitStr),
    /// A list of texts that are parsed as the type of the items.
    Texts(Vec<LitStr>),
    /// A number, with the digits by which it is shown.
    Number(TokenStream, String),
    /// Another field of the table: `self.other`.
    Sibling(Member),
    /// An expression of the field's type.
    Expression(TokenStream),
}

impl Value {
    /// Reads a value, which ends at the next comma.
    pub(crate) fn read(input: ParseStream<'_>) -> Result<Self, Error> {
        let mut tokens = Vec::new();
        // A comma inside of brackets belongs to their token tree, so the next comma in `input` ends the value.
        while !input.is_empty() && !input.peek(Token![,]) {
            tokens.push(input.parse::<TokenTree>()?);
        }
        if let [TokenTree::Group(list)] = tokens.as_slice()
            && list.delimiter() == Delimiter::Bracket
        {
            let read = |items: ParseStream<'_>| items.parse_terminated(|item| item.parse::<LitStr>(), Token![,]);
            let texts = syn::parse::Parser::parse2(read, list.stream())?;
            return Ok(Self::Texts(texts.into_iter().collect()));
        }
        let tokens: TokenStream = tokens.into_iter().collect();
        Ok(match syn::parse2::<Expr>(tokens.clone())? {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            }) => Self::Text(text),
            Expr::Lit(ExprLit {
                lit: Lit::Int(number), ..
            }) => Self::Number(tokens, number.base10_digits().to_owned()),
            Expr::Field(ExprField { base, member, .. }) if is_self(&base) => Self::Sibling(member),
            _ => Self::Expression(tokens),
        })
    }

    /// Code for the value, as an expression of type `kind`.
    pub(crate) fn of_type(&self, kind: &Type) -> TokenStream {
        match self {
            Self::Text(text) => quote!(::weir_config::derived::parse::<#kind>(#text)),
            Self::Texts(texts) => quote!(::std::vec![#(::weir_config::derived::parse(#texts)),*]),
            Self::Number(tokens, _) | Self::Expression(tokens) => quote!((#tokens)),
            Self::Sibling(member) => quote!(self.#member),
        }
    }

    /// Code for the value as operators read it: an expression that can be displayed. `table` is code for the key of the
    /// table, which precedes the name of another field.
    pub(crate) fn words(&self, kind: &Type, table: &TokenStream) -> TokenStream {
        match self {
            Self::Text(text) => quote!(#text),
            Self::Number(_, digits) => quote!(#digits),
            Self::Sibling(member) => {
                let name = quote!(#member).to_string();
                quote!(::std::format!("`{}`", ::weir_config::derived::below(#table, #name)))
            }
            Self::Texts(_) | Self::Expression(_) => {
                let value = self.of_type(kind);
                quote!({ let bound: #kind = #value; bound })
            }
        }
    }
}

fn is_self(base: &Expr) -> bool {
    matches!(base, Expr::Path(ExprPath { path, .. }) if path.is_ident("self"))
}
