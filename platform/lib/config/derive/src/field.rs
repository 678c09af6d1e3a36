//! A field of a table: its attributes, and the code that is derived from them.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote};
use syn::ext::IdentExt as _;
use syn::parse::ParseStream;
use syn::{Attribute, Error, Expr, ExprLit, Ident, Lit, LitStr, Meta, Token, parenthesized};

use crate::value::Value;

/// A key of a table.
pub(crate) struct Field {
    name: Ident,
    kind: syn::Type,
    /// The doc comment, with each paragraph on one line.
    text: String,
    default: Option<Value>,
    min: Option<Value>,
    max: Option<Value>,
    /// The allowed values in words, and the function that checks whether a value is allowed.
    allowed: Option<(LitStr, TokenStream)>,
}

impl Field {
    /// Reads a field and its attributes.
    pub(crate) fn read(field: &syn::Field) -> Result<Self, Error> {
        let name = field.ident.clone();
        let mut read = Self {
            name: name.ok_or_else(|| Error::new_spanned(field, "a setting needs a name"))?,
            kind: field.ty.clone(),
            text: text(&field.attrs),
            default: None,
            min: None,
            max: None,
            allowed: None,
        };
        if read.text.is_empty() {
            let message = "a setting needs a doc comment: it is the text of the key";
            return Err(Error::new_spanned(field, message));
        }
        for attribute in field
            .attrs
            .iter()
            .filter(|attribute| attribute.path().is_ident("setting"))
        {
            attribute.parse_args_with(|input: ParseStream<'_>| read.attribute(input))?;
        }
        if read.allowed.is_some() && (read.min.is_some() || read.max.is_some()) {
            let message = "a setting has a range or another condition, not both";
            return Err(Error::new_spanned(field, message));
        }
        Ok(read)
    }

    /// Reads the content of one `#[setting(…)]`.
    fn attribute(&mut self, input: ParseStream<'_>) -> Result<(), Error> {
        while !input.is_empty() {
            let key = input.parse::<Ident>()?;
            if key == "allowed" {
                let content;
                parenthesized!(content in input);
                let words = content.parse::<LitStr>()?;
                content.parse::<Token![,]>()?;
                self.allowed = Some((words, content.parse()?));
            } else {
                input.parse::<Token![=]>()?;
                let value = Some(Value::read(input)?);
                match key.to_string().as_str() {
                    "default" => self.default = value,
                    "min" => self.min = value,
                    "max" => self.max = value,
                    _ => return Err(Error::new(key.span(), "expected `default`, `min`, `max` or `allowed`")),
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }

    /// Code for `name: VALUE` in the default of the struct.
    pub(crate) fn default(&self) -> TokenStream {
        let Self { name, kind, .. } = self;
        let value = match &self.default {
            Some(value) => value.of_type(kind),
            None => quote!(<#kind as ::core::default::Default>::default()),
        };
        quote!(#name: #value)
    }

    /// Code for the description of the key.
    pub(crate) fn key(&self) -> TokenStream {
        let Self { name, kind, text, .. } = self;
        let name = name.unraw().to_string();
        let allowed = match self.words(&quote!("")) {
            Some(words) => quote!(::core::option::Option::Some(#words)),
            None => quote!(::core::option::Option::None),
        };
        quote! {
            ::weir_config::Key {
                name: #name,
                text: #text,
                allowed: #allowed,
                shape: <#kind as ::weir_config::Setting>::shape(),
            }
        }
    }

    /// Code that adds a problem if the value is not allowed, and checks the values below it.
    pub(crate) fn check(&self) -> TokenStream {
        let Self { name, kind, .. } = self;
        let key = name.unraw().to_string();
        let bound = |bound: &Option<Value>| match bound {
            Some(value) => {
                let value = value.of_type(kind);
                quote!(::core::option::Option::Some(&#value))
            }
            None => quote!(::core::option::Option::None),
        };
        let holds = match &self.allowed {
            Some((_, condition)) => quote!(::weir_config::derived::holds(&self.#name, #condition)),
            None => {
                let (min, max) = (bound(&self.min), bound(&self.max));
                quote!(::weir_config::derived::within(&self.#name, #min, #max))
            }
        };
        let own = self.words(&quote!(table)).map(|words| {
            quote! {
                if !#holds {
                    problems.refuse(&key, &self.#name, #words);
                }
            }
        });
        quote! {{
            let key = ::weir_config::derived::below(table, #key);
            #own
            ::weir_config::Setting::check(&self.#name, &key, problems);
        }}
    }

    /// Code for the allowed values in words: an expression of type `String`, if there is a limit. `table` is code for
    /// the key of the table, which precedes the name of another field.
    fn words(&self, table: &TokenStream) -> Option<TokenStream> {
        if let Some((words, _)) = &self.allowed {
            return Some(quote!(::std::string::String::from(#words)));
        }
        let words = |bound: &Option<Value>| bound.as_ref().map(|bound| bound.words(&self.kind, table));
        Some(match (words(&self.min), words(&self.max)) {
            (Some(min), Some(max)) => quote!(::std::format!("{} to {}", #min, #max)),
            (Some(min), None) => quote!(::std::format!("at least {}", #min)),
            (None, Some(max)) => quote!(::std::format!("at most {}", #max)),
            (None, None) => return None,
        })
    }
}

/// The doc comment, with the lines of a paragraph joined.
fn text(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes {
        let Meta::NameValue(meta) = &attribute.meta else {
            continue;
        };
        if !meta.path.is_ident("doc") {
            continue;
        }
        let Expr::Lit(ExprLit {
            lit: Lit::Str(line), ..
        }) = &meta.value
        else {
            // The comment is a macro call, such as `include_str!`. It cannot be expanded here and is shown as it
            // stands.
            text.push_str(&meta.value.to_token_stream().to_string());
            continue;
        };
        let line = line.value();
        let line = line.trim();
        if line.is_empty() {
            text.push('\n');
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    text.trim().to_owned()
}
