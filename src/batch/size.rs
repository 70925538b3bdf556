//! What values take in memory.
//!
//! Arrow tells what an array's buffers take, and counts all values of a list or map however short the slice is; of views
//! it counts no text. Owns the count of the values that a slice really has.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;

/// A view of up to so many bytes holds them itself.
const INLINE_VIEW: usize = 12;

/// A view, in bytes.
const VIEW: usize = 16;

/// What the values of an array, or of a slice of one, take: so much would a copy of them take at least.
pub fn slice_bytes(array: &ArrayRef) -> usize {
    let offsets = |width: usize| (array.len() + 1) * width + array.nulls().map_or(0, |_| array.len().div_ceil(8));
    let within = |values: &ArrayRef, first: usize, last: usize| slice_bytes(&values.slice(first, last - first));
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, last) = (list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize);
            offsets(4) + within(list.values(), first, last)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let (first, last) = (list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize);
            offsets(8) + within(list.values(), first, last)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (first, last) = (map.value_offsets()[0] as usize, map.value_offsets()[map.len()] as usize);
            let entries = map.entries().slice(first, last - first);
            offsets(4) + entries.columns().iter().map(slice_bytes).sum::<usize>()
        }
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let (first, items) = (list.value_offset(0) as usize, list.len() * list.value_length() as usize);
            offsets(0) + within(list.values(), first, first + items)
        }
        DataType::Struct(_) => offsets(0) + array.as_struct().columns().iter().map(slice_bytes).sum::<usize>(),
        DataType::Utf8View => array.as_string_view().iter().flatten().map(|text| view(text.len())).sum(),
        DataType::BinaryView => array.as_binary_view().iter().flatten().map(|bytes| view(bytes.len())).sum(),
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

fn view(bytes: usize) -> usize {
    VIEW + if bytes > INLINE_VIEW { bytes } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        FixedSizeListArray, Int64Array, ListArray, MapBuilder, StringArray, StringBuilder, StructArray,
    };
    use arrow::compute::concat;
    use arrow::datatypes::{Field, Int64Type};
    use proptest::prelude::*;

    use super::*;

    /// Arrays of each nested kind, with these lengths of lists and texts.
    fn arrays(lengths: &[usize]) -> Vec<ArrayRef> {
        let numbers = lengths.iter().map(|length| Some((0..*length as i64).map(Some)));
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(numbers));
        let texts: ArrayRef = Arc::new(lengths.iter().map(|length| Some("x".repeat(*length))).collect::<StringArray>());
        let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
        let of_both = StructArray::from(vec![(field("l", &list), list.clone()), (field("t", &texts), texts.clone())]);
        let pairs: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2 * lengths.len() as i64));
        let pairs = FixedSizeListArray::new(field("item", &pairs), 2, pairs.clone(), None);
        let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for length in lengths {
            for number in 0..*length {
                map.keys().append_value(number.to_string());
                map.values().append_value("value");
            }
            map.append(true).expect("sound");
        }
        let views = arrow::compute::cast(&texts, &DataType::Utf8View).expect("texts");
        vec![list, Arc::new(of_both), Arc::new(pairs), Arc::new(map.finish()), views, texts]
    }

    proptest! {
        #[test]
        fn rows_take_together_what_the_whole_takes(lengths in proptest::collection::vec(0_usize..300, 1..20)) {
            for array in arrays(&lengths) {
                let whole = slice_bytes(&array);
                let rows: usize = (0..array.len()).map(|row| slice_bytes(&array.slice(row, 1))).sum();
                // Each slice has an offset more, at each level.
                prop_assert!((whole..=whole + 40 * array.len()).contains(&rows), "{}: {whole}, {rows}", array.data_type());
            }
        }

        #[test]
        fn a_slice_takes_what_a_copy_of_it_takes(lengths in proptest::collection::vec(0_usize..300, 2..20)) {
            for array in arrays(&lengths) {
                let slice = array.slice(1, array.len() - 1);
                let copy = concat(&[&slice, &slice.slice(0, 0)]).expect("alike");
                prop_assert_eq!(slice_bytes(&slice), slice_bytes(&copy), "{}", array.data_type());
            }
        }
    }

    #[test]
    fn long_texts_behind_views_count() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(7000); 10]));
        let views = arrow::compute::cast(&texts, &DataType::Utf8View).expect("texts");
        assert_eq!(slice_bytes(&views), 10 * (VIEW + 7000));
    }
}
