-- One row is a restaurant as the file has it now.
select
    restaurant_id,
    restaurant_name,
    cuisine_type,
    restaurant_address,
    restaurant_rating
from file
