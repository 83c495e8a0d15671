"""Values as flat buffers, made from pandas Series: numbers by their buffers, texts by their objects.

pandas is never imported here: what this module knows of it are the Series' own methods. Invariant: a value is null exactly
where ``Series.isna()`` says so, so NaN in a frame is null, as pandas means it.
"""

from typing import Any

import numpy as np

from featurestore_client.encoding import FlatValues
from featurestore_client.types import DataType
from featurestore_client.values import list_values, numpy_values, pack_validity


def series_values(name: str, series: Any, data_type: DataType) -> FlatValues:
    """The flat form of a pandas Series."""
    dtype = series.dtype
    if type(dtype).__name__ == "ArrowDtype" or getattr(dtype, "storage", "") == "pyarrow":
        from featurestore_client.arrow_values import arrow_values  # noqa: PLC0415  only where the data is Arrow's already

        return arrow_values(name, series.array.__arrow_array__(), data_type)
    if type(dtype).__name__ == "CategoricalDtype":
        series = series.astype(dtype.categories.dtype if not series.isna().any() else object)
        dtype = series.dtype
    valid = series.notna().to_numpy(dtype=bool)
    validity = pack_validity(valid)
    if type(dtype).__name__ == "DatetimeTZDtype":
        return numpy_values(name, series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), data_type, validity)
    if isinstance(dtype, np.dtype) and dtype.kind in "biufM":
        return numpy_values(name, series.to_numpy(), data_type, validity)
    if dtype.kind in "biuf":  # the nullable ones: values and a mask
        return numpy_values(name, series.to_numpy(dtype=dtype.numpy_dtype, na_value=0), data_type, validity)
    listed = series.tolist()
    if validity is not None:
        listed = [value if valid[row] else None for row, value in enumerate(listed)]
    return list_values(name, listed, data_type)
