//! The derive of `weir_config::Setting`.
//!
//! It reads the fields of a struct: the name, the doc comment, and one attribute `#[setting(…)]`, which may have
//!
//! - `default = VALUE`: the default, which is that of the type if it is left out;
//! - `min = VALUE`, `max = VALUE`: the smallest and the largest allowed value;
//! - `allowed("what is allowed", CHECK)`: any other condition. `CHECK` is called with the field and returns whether its
//!   value is allowed.
//!
//! A `VALUE` is a text that is parsed as the type of the field, a list of such texts, or any expression of that type. A
//! bound may be another field: `min = self.other`.
//!
//! From these it derives `Default` and `weir_config::Setting`, which describes the shape of the table and checks its
//! values.

mod field;
mod value;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, parse_macro_input};

use field::Field;

/// Derives `Default` and `weir_config::Setting` for a struct with named fields: one table of a configuration.
#[proc_macro_derive(Setting, attributes(setting))]
pub fn setting(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// Writes the implementations for one struct.
fn expand(input: &DeriveInput) -> Result<TokenStream, Error> {
    let name = &input.ident;
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => fields.named.iter().map(Field::read).collect::<Result<Vec<_>, _>>()?,
            _ => return Err(Error::new_spanned(name, "a table of settings needs named fields")),
        },
        _ => return Err(Error::new_spanned(name, "a table of settings is a struct")),
    };
    let defaults = fields.iter().map(Field::default);
    let keys = fields.iter().map(Field::key);
    let checks = fields.iter().map(Field::check);
    Ok(quote! {
        #[automatically_derived]
        impl ::core::default::Default for #name {
            fn default() -> Self {
                Self { #(#defaults,)* }
            }
        }

        #[automatically_derived]
        impl ::weir_config::Setting for #name {
            fn shape() -> ::weir_config::Shape {
                ::weir_config::Shape::Table(::std::vec![#(#keys),*])
            }

            fn check(&self, table: &str, problems: &mut ::weir_config::Problems) {
                #(#checks)*
            }
        }
    })
}
